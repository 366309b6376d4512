use std::collections::HashMap;

use actix_web::{
    HttpRequest, HttpResponse,
    cookie::{Cookie, SameSite},
    http::header,
    web,
};
use askama::Template;
use fmnist_core::ModelIdentity;
use serde_json::json;

use crate::{BrokerKind, error::ApiError, guard, site::Site};

/// Images whose preview stands on the page before anything is typed.
const PREVIEW: usize = 5;

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    host: &'a str,
    images: usize,
    preview: usize,
    /// The test set's version.
    set: &'a str,
    synthetic: bool,
    model: Option<&'a ModelIdentity>,
    labels: &'a [String],
    brokers: [Choice; 2],
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
struct SignIn;

/// The fields of a form, or why there are none.
type Fields = Result<web::Form<HashMap<String, String>>, actix_web::Error>;

/// `GET /`
pub(crate) async fn show(site: web::Data<Site>, request: HttpRequest) -> HttpResponse {
    let frontend = &site.frontend;
    if let Some(token) = &frontend.settings.api_token
        && !request.cookie(guard::COOKIE).is_some_and(|shown| guard::is_equal(shown.value(), token))
    {
        return html(&SignIn);
    }
    let model = frontend.model.as_ref();
    html(&Page {
        host: request.connection_info().host(),
        images: frontend.test_images,
        preview: PREVIEW.min(frontend.test_images),
        set: frontend.gallery.as_ref().map_or("", |gallery| &gallery.version),
        synthetic: frontend.is_synthetic,
        model: model.map(|model| &**model.identity()),
        labels: model.map_or(&[][..], |model| model.labels()),
        brokers: broker_choice(&site),
        live: frontend.results.is_some(),
        kept: frontend.database.is_some(),
    })
}

fn broker_choice(site: &Site) -> [Choice; 2] {
    let first = BrokerKind::ALL.into_iter().find(|kind| site.broker(*kind).is_ok());
    BrokerKind::ALL.map(|kind| Choice {
        name: kind.name(),
        title: match kind {
            BrokerKind::Kafka => "Kafka",
            BrokerKind::PubSub => "Google Pub/Sub",
        },
        checked: first == Some(kind),
        missing: site.broker(kind).is_err(),
    })
}

/// `POST /`, the old form: on to the publishing address.
pub(crate) async fn submit(fields: Fields) -> Result<HttpResponse, ApiError> {
    let fields = fields.map_err(|_| {
        ApiError::Invalid("expected a form with message_broker, start_idx and end_idx".to_owned())
    })?;
    let field = |name: &str| match fields.get(name) {
        Some(value) if !value.is_empty() => Ok(value.as_str()),
        _ => Err(ApiError::Invalid(format!("{name} is missing"))),
    };
    let index = |name: &str| {
        let text = field(name)?;
        match text.parse::<usize>() {
            Ok(_) => Ok(text),
            Err(_) => Err(ApiError::Invalid(format!("{name} is not an index: {text:?}"))),
        }
    };
    let broker = broker(field("message_broker")?)?;
    let (start, end) = (index("start_idx")?, index("end_idx")?);
    let target = format!("/{broker}/push-to-consumer?start_idx={start}&end_idx={end}");
    Ok(HttpResponse::Found().insert_header((header::LOCATION, target)).finish())
}

/// `kafka` or `pubsub`, else 400.
pub(crate) fn broker(name: &str) -> Result<BrokerKind, ApiError> {
    name.parse().map_err(|()| {
        ApiError::Invalid(format!("there is no broker {name:?}: expected kafka or pubsub"))
    })
}

/// `POST /login`: a right token becomes the page's cookie.
pub(crate) async fn sign_in(
    site: web::Data<Site>,
    fields: Fields,
) -> Result<HttpResponse, ApiError> {
    let token = site.frontend.settings.api_token.as_deref();
    let shown = fields.ok().and_then(|fields| fields.get("token").cloned());
    let (Some(token), Some(shown)) = (token, shown) else { return Err(ApiError::Unauthorised) };
    if !guard::is_equal(&shown, token) {
        return Err(ApiError::Unauthorised);
    }
    let cookie = Cookie::build(guard::COOKIE, shown)
        .path("/")
        .http_only(true)
        .same_site(SameSite::Strict)
        .finish();
    let home = (header::LOCATION, "/");
    Ok(HttpResponse::SeeOther().cookie(cookie).insert_header(home).finish())
}

/// Whatever is not served.
pub(crate) async fn missing() -> HttpResponse {
    HttpResponse::NotFound().json(json!({ "error": "there is nothing here" }))
}

fn html(template: &impl Template) -> HttpResponse {
    let page = template.render().expect("memory takes any write, and no filter fails");
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(page)
}
