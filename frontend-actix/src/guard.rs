//! Who may ask for what: the caller's address by `Host`, foreign pages by `Sec-Fetch-Site` and
//! `Origin`, strangers by the token.

use std::{net::IpAddr, time::Instant};

use actix_web::{
    Error,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
    middleware::Next,
    web,
};

use crate::{ServerConfig, assets, error::ApiError, site::Site};

/// The cookie that the page's sign-in sets.
pub(crate) const COOKIE: &str = "fmnist_token";

/// Answered to everybody: probes carry no token, and the page has the form that asks for it.
const OPEN: [(Method, &str); 6] = [
    (Method::GET, "/"),
    (Method::POST, "/login"),
    (Method::GET, "/livez"),
    (Method::GET, "/readyz"),
    (Method::GET, "/v2/health/live"),
    (Method::GET, "/v2/health/ready"),
];

const HEADERS: [(HeaderName, &str); 8] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
         connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    // `no-referrer` would make browsers send `Origin: null` with the page's own form.
    (header::REFERRER_POLICY, "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
    (header::PERMISSIONS_POLICY, "camera=(), geolocation=(), microphone=()"),
    (header::CROSS_ORIGIN_OPENER_POLICY, "same-origin"),
    (header::CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
];

/// Refuses what must not be answered and puts the strict headers on everything.
pub(crate) async fn check(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let site = request.app_data::<web::Data<Site>>().expect("every app has a site").clone();
    let admitted = verdict(&request, &site.frontend.settings)
        .and_then(|()| site.limits.admit(&request, Instant::now()));
    let mut response = match admitted {
        Ok(()) => next.call(request).await?.map_into_boxed_body(),
        Err(refusal) => {
            tracing::debug!(path = request.path(), %refusal, "refused");
            request.error_response(refusal)
        }
    };
    let may_be_kept = response.headers().contains_key(header::CACHE_CONTROL);
    for (name, value) in HEADERS {
        if name == header::CACHE_CONTROL && may_be_kept {
            continue;
        }
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

fn verdict(request: &ServiceRequest, settings: &ServerConfig) -> Result<(), ApiError> {
    let headers = request.headers();
    let host = text(headers, &header::HOST).unwrap_or_default();
    if settings.bind.is_loopback() && !names_this_computer(host) {
        return Err(ApiError::Foreign("this name is not served here; use 127.0.0.1 or localhost"));
    }
    if changes_something(request) {
        check_page(headers, host)?;
    }
    let is_open = || {
        let (method, path) = (request.method(), request.path());
        let is_asset = *method == Method::GET && path.starts_with(assets::FOLDER);
        is_asset || OPEN.iter().any(|(open, at)| open == method && *at == path)
    };
    match &settings.api_token {
        Some(token) if !shows_token(request, token) && !is_open() => Err(ApiError::Unauthorised),
        _ => Ok(()),
    }
}

/// Publishing by GET is part of the old contract, so the method alone does not tell.
fn changes_something(request: &ServiceRequest) -> bool {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    !reads || request.path().ends_with("/push-to-consumer")
}

/// A name that somebody else's DNS points here must not work (DNS rebinding).
fn names_this_computer(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// Browsers say which page a request comes from; programs say nothing.
fn check_page(headers: &HeaderMap, host: &str) -> Result<(), ApiError> {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
        return Err(ApiError::Foreign("requests from other pages are refused"));
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let authority = origin.to_str().ok().and_then(|origin| Some(origin.split_once("://")?.1));
    match authority {
        Some(authority) if authority.eq_ignore_ascii_case(host) => Ok(()),
        _ => Err(ApiError::Foreign("requests from other origins are refused")),
    }
}

/// Whether the caller has the token, in the header or in the page's cookie.
fn shows_token(request: &ServiceRequest, token: &str) -> bool {
    let bearer = text(request.headers(), &header::AUTHORIZATION)
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let cookie = request.request().cookie(COOKIE);
    let shown = bearer.map(|(_, shown)| shown).or(cookie.as_ref().map(|cookie| cookie.value()));
    shown.is_some_and(|shown| is_equal(shown, token))
}

/// Compares in a time that says nothing of where the difference is.
pub(crate) fn is_equal(shown: &str, token: &str) -> bool {
    let pairs = shown.bytes().zip(token.bytes());
    shown.len() == token.len() && pairs.fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
