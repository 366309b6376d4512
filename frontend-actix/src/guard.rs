//! Who may ask for what: the caller's address by `Host`, foreign pages by `Sec-Fetch-Site` and
//! `Origin`, strangers by the token. What is asked of a caller is the [`Policy`] of the route.

use std::{net::IpAddr, time::Instant};

use actix_web::{
    Error,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        header::{self, HeaderMap, HeaderName, HeaderValue},
        uri::Authority,
    },
    middleware::Next,
    web,
};
use subtle::ConstantTimeEq;

use crate::{config::ServerConfig, error::ApiError, site::Site};

/// The cookie that the page's sign-in sets.
pub(crate) const COOKIE: &str = "fmnist_token";

/// What a route does, and so what is asked of its callers. Every route has one, and what no route
/// answers has the strictest: an address can't be written so that it is let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Tells how the process is. Probes carry no token, and those of HTTP/1.0 no `Host`.
    Probes,
    /// The same for everybody: the page, which has the form that asks for the token, and its files.
    Shows,
    /// Answers what is known, to those with the token.
    Reads,
    /// Takes the token; counted, and not for foreign pages.
    SignsIn,
    /// Publishes, decodes or classifies: with the token, counted, and not for foreign pages.
    Works,
}

impl Policy {
    /// Of what is not known.
    pub(crate) const STRICTEST: Self = Self::Works;

    /// Whether asking twice is as good as asking once, so that `HEAD` may be asked, too.
    pub(crate) fn is_safe(self) -> bool {
        matches!(self, Self::Probes | Self::Shows | Self::Reads)
    }

    fn is_open(self) -> bool {
        matches!(self, Self::Probes | Self::Shows | Self::SignsIn)
    }
}

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

/// Puts the strict headers on every answer.
pub(crate) async fn add_headers(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let mut response = next.call(request).await?.map_into_boxed_body();
    let may_be_kept = response.headers().contains_key(header::CACHE_CONTROL);
    for (name, value) in HEADERS {
        if name == header::CACHE_CONTROL && may_be_kept {
            continue;
        }
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// Passes on what a route of this policy may be asked by this caller, and refuses the rest.
pub(crate) async fn check(
    policy: Policy,
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse, Error> {
    let site = request.app_data::<web::Data<Site>>().expect("every app has a site");
    let counted = || if policy.is_safe() { Ok(()) } else { site.limits.admit(Instant::now()) };
    let admitted = verdict(policy, &request, &site.setup.settings).and_then(|()| counted());
    match admitted {
        Ok(()) => next.call(request).await,
        Err(refusal) => {
            tracing::debug!(path = request.path(), %refusal, "refused");
            Ok(request.error_response(refusal))
        }
    }
}

fn verdict(
    policy: Policy,
    request: &ServiceRequest,
    settings: &ServerConfig,
) -> Result<(), ApiError> {
    let headers = request.headers();
    let host = Host::read(headers)?;
    match &host {
        Some(host) if host.is_served(settings) => {}
        // A browser always sends a name; without one it is a program.
        None if policy == Policy::Probes || !settings.bind.is_loopback() => {}
        Some(_) | None => return Err(ApiError::Foreign(NOT_SERVED)),
    }
    // The protocol has a method POST that only reads.
    if !policy.is_safe() || !request.method().is_safe() {
        check_page(headers, host.as_ref(), settings)?;
    }
    if policy.is_open() || shows_token(request, settings) {
        Ok(())
    } else {
        Err(ApiError::Unauthorised)
    }
}

const NOT_SERVED: &str = "this name is not served here; use 127.0.0.1 or localhost, or add the \
                          name to server.hosts";

/// The name and port by which a caller asks. What a proxy says of it is not looked at: anybody can
/// write such a header.
struct Host<'a>(&'a str);

impl<'a> Host<'a> {
    /// `None` where it is missing.
    fn read(headers: &'a HeaderMap) -> Result<Option<Self>, ApiError> {
        let mut all = headers.get_all(header::HOST);
        match (all.next(), all.next()) {
            (None, _) => Ok(None),
            (Some(host), None) => Ok(Some(Self(host.to_str().unwrap_or_default()))),
            (Some(_), Some(_)) => Err(ApiError::Foreign("expected one Host, found several")),
        }
    }

    /// Without the port.
    fn name(&self) -> &'a str {
        let name = match self.0.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => self.0,
        };
        name.strip_suffix('.').unwrap_or(name)
    }

    /// A name that somebody else's DNS points here must not work (DNS rebinding); an address can't be
    /// pointed elsewhere.
    fn is_served(&self, settings: &ServerConfig) -> bool {
        let name = self.name();
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        let is_this_computer = name.eq_ignore_ascii_case("localhost")
            || address.is_some_and(|address| address.is_loopback());
        let is_public = !settings.bind.is_loopback();
        is_this_computer
            || is_listed(name, settings)
            || (is_public && (settings.hosts.is_empty() || address.is_some()))
    }
}

fn is_listed(name: &str, settings: &ServerConfig) -> bool {
    settings.hosts.iter().any(|host| host.eq_ignore_ascii_case(name))
}

/// Browsers say which page a request comes from; programs say nothing.
fn check_page(
    headers: &HeaderMap,
    host: Option<&Host<'_>>,
    settings: &ServerConfig,
) -> Result<(), ApiError> {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
        return Err(ApiError::Foreign("requests from other pages are refused"));
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let is_own = origin.is_some_and(|(scheme, authority)| {
        // A proxy may have put a name of its own, or none with a port, where the browser's was.
        host.is_some_and(|host| authority.eq_ignore_ascii_case(host.0))
            || (scheme == "https" && is_listed(Host(authority).name(), settings))
    });
    if is_own { Ok(()) } else { Err(ApiError::Foreign("requests from other origins are refused")) }
}

/// Whether a browser comes through the proxy that has the certificate, so that a cookie is to travel
/// in no other way.
pub(crate) fn is_behind_tls(headers: &HeaderMap, settings: &ServerConfig) -> bool {
    match text(headers, &header::ORIGIN) {
        Some(origin) => origin.starts_with("https://"),
        None => {
            text(headers, &header::HOST).is_some_and(|host| is_listed(Host(host).name(), settings))
        }
    }
}

/// The address by which the caller asks, for words on the page.
pub(crate) fn shown_address(headers: &HeaderMap, settings: &ServerConfig) -> String {
    let host = text(headers, &header::HOST).filter(|host| host.parse::<Authority>().is_ok());
    let host = host.unwrap_or("127.0.0.1:5000");
    let scheme = if is_listed(Host(host).name(), settings) { "https" } else { "http" };
    format!("{scheme}://{host}")
}

/// Whether the caller has the token, in the header or in the page's cookie.
fn shows_token(request: &ServiceRequest, settings: &ServerConfig) -> bool {
    let bearer = text(request.headers(), &header::AUTHORIZATION).and_then(bearer);
    let cookie = request.request().cookie(COOKIE);
    is_token(bearer.or(cookie.as_ref().map(|cookie| cookie.value())), settings)
}

/// Whether this is the token, where one is asked for.
pub(crate) fn is_token(shown: Option<&str>, settings: &ServerConfig) -> bool {
    let Some(token) = &settings.api_token else { return true };
    shown.is_some_and(|shown| is_equal(shown, token))
}

/// What an `Authorization` shows.
pub(crate) fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, shown) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(shown)
}

/// Compares in a time that says nothing of where the difference is.
pub(crate) fn is_equal(shown: &str, token: &str) -> bool {
    shown.as_bytes().ct_eq(token.as_bytes()).into()
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
