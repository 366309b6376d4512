//! A path with what each method does there.

use actix_web::{
    FromRequest, Handler, HttpResponse, Responder, Route,
    http::Method,
    web::{self, ServiceConfig},
};

use crate::{error::ApiError, guard::Policy};

/// Answers its methods, `HEAD` wherever `GET` is safe, and any other with 405 and those there are.
pub(crate) struct Endpoint {
    path: &'static str,
    routes: Vec<(Method, Policy, Route)>,
}

/// An endpoint without a method.
pub(crate) const fn at(path: &'static str) -> Endpoint {
    Endpoint { path, routes: Vec::new() }
}

impl Endpoint {
    /// Answers `GET`, and `HEAD` unless `GET` does something.
    pub(crate) fn get<A: FromRequest + 'static>(
        self,
        policy: Policy,
        handler: impl Handler<A, Output: Responder + 'static>,
    ) -> Self {
        if policy.is_safe() {
            self.on(Method::GET, policy, handler.clone()).on(Method::HEAD, policy, handler)
        } else {
            self.on(Method::GET, policy, handler)
        }
    }

    /// Answers `POST`.
    pub(crate) fn post<A: FromRequest + 'static>(
        self,
        policy: Policy,
        handler: impl Handler<A, Output: Responder + 'static>,
    ) -> Self {
        self.on(Method::POST, policy, handler)
    }

    fn on<A: FromRequest + 'static>(
        mut self,
        method: Method,
        policy: Policy,
        handler: impl Handler<A, Output: Responder + 'static>,
    ) -> Self {
        let route = web::method(method.clone()).to(handler);
        self.routes.push((method, policy, route));
        self
    }

    /// Its path with its methods.
    #[cfg(test)]
    pub(crate) fn declared(&self) -> impl Iterator<Item = (&'static str, &Method)> {
        self.routes.iter().map(|(method, ..)| (self.path, method))
    }

    /// Serves it, each route behind `guarded`.
    pub(crate) fn register(
        self,
        services: &mut ServiceConfig,
        guarded: impl Fn(Route, Policy) -> Route,
    ) {
        let methods: Vec<&str> = self.routes.iter().map(|(method, ..)| method.as_str()).collect();
        let allow = methods.join(", ");
        let wrong_method = move || {
            let allow = allow.clone();
            async move { Err::<HttpResponse, _>(ApiError::WrongMethod { allow }) }
        };
        let resource = self
            .routes
            .into_iter()
            .fold(web::resource(self.path), |resource, (_, policy, route)| {
                resource.route(guarded(route, policy))
            });
        let otherwise = guarded(web::to(wrong_method), Policy::STRICTEST);
        services.service(resource.default_service(otherwise));
    }
}

/// Serves what no endpoint has.
pub(crate) fn missing() -> Route {
    let nothing = || ApiError::Unknown("there is nothing here".to_owned());
    web::to(move || async move { Err::<HttpResponse, _>(nothing()) })
}
