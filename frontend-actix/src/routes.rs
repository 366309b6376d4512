//! Every address that the page's server answers; the guard and the limits decide by what stands here,
//! never by the text of a path.

mod assets;
mod classify;
pub(crate) mod health;
mod inference;
mod page;
pub(crate) mod pictures;
mod publish;
pub(crate) mod results;

use actix_web::{
    Route,
    body::BoxBody,
    dev::ServiceRequest,
    middleware::{Next, from_fn},
    web::ServiceConfig,
};

use crate::{
    endpoint,
    endpoint::at,
    guard::{
        self,
        Policy::{self, Probes, Reads, Shows, SignsIn, Works},
    },
};

pub(crate) fn all(services: &mut ServiceConfig) {
    use publish::{push_image, push_range};
    let endpoints = [
        at("/").get(Shows, page::show).post(Works, page::submit),
        at("/login").post(SignsIn, page::sign_in),
        at("/assets/{name}").get(Shows, assets::serve),
        // Old producers push with GET as well as with POST.
        at("/{broker}/push-to-consumer").get(Works, push_range).post(Works, push_range),
        at("/{broker}/images").post(Works, push_image),
        at("/images/{index}.png").get(Reads, pictures::one),
        at("/images.png").get(Reads, pictures::sheet),
        at("/labels").get(Reads, pictures::truth),
        at("/prepare").post(Works, pictures::prepare),
        at("/classify").post(Works, classify::classify),
        at("/results").get(Reads, results::recent),
        at("/results/picture").get(Reads, results::picture),
        at("/results/stream").get(Reads, results::stream),
        at("/livez").get(Probes, health::live),
        at("/readyz").get(Probes, health::ready),
        at("/metrics").get(Reads, health::metrics),
        at("/v2").get(Reads, inference::server),
        at("/v2/health/live").get(Probes, inference::live),
        at("/v2/health/ready").get(Probes, inference::ready),
        at("/v2/repository/index").post(Reads, inference::index),
        at("/v2/models/{name}").get(Reads, inference::metadata),
        at("/v2/models/{name}/ready").get(Reads, inference::model_ready),
        at("/v2/models/{name}/infer").post(Works, inference::infer),
        at("/v2/models/{name}/versions/{version}").get(Reads, inference::metadata),
        at("/v2/models/{name}/versions/{version}/ready").get(Reads, inference::model_ready),
        at("/v2/models/{name}/versions/{version}/infer").post(Works, inference::infer),
    ];
    for endpoint in endpoints {
        endpoint.register(services, guarded);
    }
}

/// What no route answers.
pub(crate) fn missing() -> Route {
    guarded(endpoint::missing(), Policy::STRICTEST)
}

fn guarded(route: Route, policy: Policy) -> Route {
    let check =
        move |request: ServiceRequest, next: Next<BoxBody>| guard::check(policy, request, next);
    route.wrap(from_fn(check))
}
