//! The page's files.

use actix_web::{HttpResponse, web};

use crate::{
    endpoint::{Endpoint, at},
    error::ApiError,
    guard::Policy::Shows,
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![at("/assets/{name}").get(Shows, serve)]
}

const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

const FILES: [(&str, &str, &str); 14] = [
    ("api.js", JAVASCRIPT, include_str!("../../assets/api.js")),
    ("cards.js", JAVASCRIPT, include_str!("../../assets/cards.js")),
    ("charts.js", JAVASCRIPT, include_str!("../../assets/charts.js")),
    ("dom.js", JAVASCRIPT, include_str!("../../assets/dom.js")),
    ("draw.js", JAVASCRIPT, include_str!("../../assets/draw.js")),
    ("figures.js", JAVASCRIPT, include_str!("../../assets/figures.js")),
    ("health.js", JAVASCRIPT, include_str!("../../assets/health.js")),
    ("icon.svg", SVG, include_str!("../../assets/icon.svg")),
    ("model.js", JAVASCRIPT, include_str!("../../assets/model.js")),
    ("page.css", CSS, include_str!("../../assets/page.css")),
    ("page.js", JAVASCRIPT, include_str!("../../assets/page.js")),
    ("picture.js", JAVASCRIPT, include_str!("../../assets/picture.js")),
    ("range.js", JAVASCRIPT, include_str!("../../assets/range.js")),
    ("results.js", JAVASCRIPT, include_str!("../../assets/results.js")),
];

/// `GET /assets/{name}`
async fn serve(name: web::Path<String>) -> Result<HttpResponse, ApiError> {
    let found = FILES.into_iter().find(|(file, ..)| *file == name.as_str());
    let (_, content_type, text) =
        found.ok_or_else(|| ApiError::Unknown("there is nothing here".to_owned()))?;
    Ok(HttpResponse::Ok().content_type(content_type).body(text))
}
