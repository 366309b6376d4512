//! Every address that the page's server answers. A file declares its own, each with what is asked of its
//! callers; guard and limits decide by that, never by the text of a path.

mod assets;
mod classify;
pub(crate) mod health;
mod inference;
mod model;
mod page;
mod pictures;
mod publish;
mod results;

use actix_web::{
    Route,
    body::BoxBody,
    dev::ServiceRequest,
    middleware::{Next, from_fn},
    web::ServiceConfig,
};

use crate::{
    endpoint::{self, Endpoint},
    guard::{self, Policy},
};

/// Where two fit a path, the first answers.
pub(crate) fn endpoints() -> impl Iterator<Item = Endpoint> {
    let files = [
        page::endpoints(),
        assets::endpoints(),
        publish::endpoints(),
        pictures::endpoints(),
        classify::endpoints(),
        results::endpoints(),
        health::endpoints(),
        inference::endpoints(),
        model::endpoints(),
    ];
    files.into_iter().flatten()
}

pub(crate) fn all(services: &mut ServiceConfig) {
    endpoints().for_each(|endpoint| endpoint.register(services, guarded));
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
