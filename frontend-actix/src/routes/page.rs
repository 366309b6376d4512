//! The page, its form and its sign-in.

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    cookie::{Cookie, SameSite},
    http::header,
    web,
};
use askama::Template;
use fmnist_core::{ModelIdentity, label::LABELS};
use service::Producer;

use crate::{
    endpoint::{Endpoint, at},
    error::ApiError,
    guard::{
        self,
        Policy::{Shows, SignsIn, Works},
    },
    legacy,
    site::{Place, Site},
    upload,
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![at("/").get(Shows, show).post(Works, submit), at("/login").post(SignsIn, sign_in)]
}

/// Images whose preview stands on the page before anything is typed.
const PREVIEW: usize = 5;

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    /// Scheme, name and port.
    address: &'a str,
    images: usize,
    preview: usize,
    /// The test set's version.
    set: &'a str,
    synthetic: bool,
    /// The images are the official ones, by their classes.
    official: bool,
    /// What is classified is clothes, by the model's classes.
    clothes: bool,
    model: Option<&'a ModelIdentity>,
    labels: &'a [String],
    brokers: Vec<Choice>,
    /// Results are read in this process.
    live: bool,
    /// A database may have the pictures that messages carried.
    kept: bool,
}

/// A radio button; a broker that is not configured can't be chosen.
struct Choice {
    name: &'static str,
    title: &'static str,
    checked: bool,
    missing: bool,
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn {
    /// A token was shown, and not the right one.
    refused: bool,
}

/// `GET /`
async fn show(site: web::Data<Site>, request: HttpRequest) -> HttpResponse {
    let setup = &site.setup;
    let shown = request.cookie(guard::COOKIE);
    if !guard::is_token(shown.as_ref().map(Cookie::value), &setup.settings) {
        return html(&SignIn { refused: false });
    }
    let model = setup.model.as_ref();
    let labels = model.map_or(&[][..], |model| model.labels());
    let gallery = setup.gallery.as_ref();
    let official = gallery.is_none_or(|gallery| *gallery.test_set.classes == LABELS);
    html(&Page {
        address: &guard::shown_address(request.headers(), &setup.settings),
        images: setup.test_images(),
        preview: PREVIEW.min(setup.test_images()),
        set: gallery.map_or("", |gallery| &gallery.version),
        synthetic: setup.is_synthetic(),
        official,
        clothes: if labels.is_empty() { official } else { labels == LABELS },
        model: model.map(|model| model.identity()).as_deref(),
        labels,
        brokers: broker_choice(&site),
        live: setup.results.is_some(),
        kept: setup.database.is_some(),
    })
}

fn broker_choice(site: &Site) -> Vec<Choice> {
    let first = site.setup.producers().next().map(Producer::name);
    let choice = |place: &Place| Choice {
        name: place.name,
        title: place.title,
        checked: first == Some(place.name),
        missing: place.producer.is_none(),
    };
    site.setup.brokers.iter().map(choice).collect()
}

/// `POST /`, the form of the page: on to the publishing address.
async fn submit(
    site: web::Data<Site>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let fields = upload::form(&site.limits, &request, payload).await?;
    let broker = site.broker(fields.required("message_broker")?)?;
    let (start, end) = (fields.index("start_idx")?, fields.index("end_idx")?);
    let target = legacy::push_address(broker.name, &start, &end);
    Ok(HttpResponse::Found().insert_header((header::LOCATION, target)).finish())
}

/// `POST /login`: a right token becomes the page's cookie, a wrong one brings the form back.
async fn sign_in(
    site: web::Data<Site>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let fields = upload::form(&site.limits, &request, payload).await?;
    let settings = &site.setup.settings;
    let token = settings.api_token.as_deref().ok_or(ApiError::Unauthorised)?;
    let shown = fields.get("token").filter(|shown| guard::is_equal(shown, token));
    let Some(shown) = shown else {
        let refused = SignIn { refused: true };
        return Ok(page(&mut HttpResponse::Unauthorized(), &refused));
    };
    let cookie = Cookie::build(guard::COOKIE, shown.to_owned())
        .path("/")
        .http_only(true)
        .secure(guard::is_behind_tls(request.headers(), settings))
        .same_site(SameSite::Strict)
        .finish();
    let home = (header::LOCATION, "/");
    Ok(HttpResponse::SeeOther().cookie(cookie).insert_header(home).finish())
}

fn html(template: &impl Template) -> HttpResponse {
    page(&mut HttpResponse::Ok(), template)
}

fn page(answer: &mut HttpResponseBuilder, template: &impl Template) -> HttpResponse {
    let page = template.render().expect("memory takes any write, and no filter fails");
    answer.content_type("text/html; charset=utf-8").body(page)
}
