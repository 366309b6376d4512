use std::collections::HashMap;

use actix_web::{
    HttpRequest, HttpResponse,
    cookie::{Cookie, SameSite},
    http::header,
    web,
};
use serde_json::json;

use crate::{BrokerKind, error::ApiError, guard, site::Site};

const PAGE: &str = include_str!("page.html");
const SIGN_IN: &str = include_str!("sign_in.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The fields of a form, or why there are none.
type Fields = Result<web::Form<HashMap<String, String>>, actix_web::Error>;

/// `GET /`
pub(crate) async fn show(site: web::Data<Site>, request: HttpRequest) -> HttpResponse {
    let frontend = &site.frontend;
    if let Some(token) = &frontend.settings.api_token
        && !request.cookie(guard::COOKIE).is_some_and(|shown| guard::is_equal(shown.value(), token))
    {
        return html(SIGN_IN.to_owned());
    }
    let images = frontend.test_images;
    let data_set = match frontend.is_synthetic {
        true => format!("{images} synthetic images, drawn by this program"),
        false => format!("the {images} test images of Fashion-MNIST"),
    };
    let model = match &frontend.model {
        Some(model) => {
            let identity = model.identity();
            format!("{} {}", escape(&identity.name), escape(&identity.version))
        }
        None => "none in this process".to_owned(),
    };
    let hidden_unless = |shown: bool| if shown { "" } else { "hidden" }.to_owned();
    let values = [
        ("{{host}}", escape(request.connection_info().host())),
        ("{{images}}", images.to_string()),
        ("{{last}}", images.saturating_sub(1).to_string()),
        ("{{data_set}}", data_set),
        ("{{model}}", model),
        ("{{brokers}}", broker_choice(&site)),
        ("{{synthetic}}", hidden_unless(frontend.is_synthetic)),
        ("{{live}}", hidden_unless(frontend.results.is_some())),
        ("{{no_live}}", hidden_unless(frontend.results.is_none())),
    ];
    html(values.iter().fold(PAGE.to_owned(), |page, (name, value)| page.replace(name, value)))
}

/// The radio buttons; brokers that are not configured can't be chosen.
fn broker_choice(site: &Site) -> String {
    let first = BrokerKind::ALL.into_iter().find(|kind| site.broker(*kind).is_ok());
    let button = |kind: BrokerKind| {
        let (state, note) = match site.broker(kind) {
            Ok(_) if first == Some(kind) => ("checked", ""),
            Ok(_) => ("", ""),
            Err(_) => ("disabled", " <small>(not configured)</small>"),
        };
        let title = match kind {
            BrokerKind::Kafka => "Kafka",
            BrokerKind::PubSub => "Google Pub/Sub",
        };
        format!(
            "<label><input type=\"radio\" name=\"message_broker\" value=\"{kind}\" required \
             {state}> {title}{note}</label>"
        )
    };
    BrokerKind::ALL.map(button).join("\n")
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

/// `GET /page.css`
pub(crate) async fn style() -> HttpResponse {
    HttpResponse::Ok().content_type("text/css; charset=utf-8").body(STYLE)
}

/// `GET /page.js`
pub(crate) async fn script() -> HttpResponse {
    HttpResponse::Ok().content_type("text/javascript; charset=utf-8").body(SCRIPT)
}

/// Whatever is not served.
pub(crate) async fn missing() -> HttpResponse {
    HttpResponse::NotFound().json(json!({ "error": "there is nothing here" }))
}

fn html(page: String) -> HttpResponse {
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(page)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
