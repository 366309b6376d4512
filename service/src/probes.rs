//! `/livez`, `/readyz`, `/metrics` and `/model` of a consumer, which has no page.

use std::{borrow::Cow, net::SocketAddr};

use actix_web::{
    App, Error, FromRequest, Handler, HttpResponse, HttpServer, Resource, Responder,
    body::MessageBody,
    dev::{ServiceFactory, ServiceRequest, ServiceResponse},
    web,
};
use serde_json::json;
use stream_inference::{Supervisor, pipeline::Pulse};
use tokio::sync::watch;

use crate::{Metrics, ModelControl, ProbesConfig, Serving, StartError, cut_off_stalled, health};

/// Answers an orchestrator and Prometheus on [`ProbesConfig::health_port`]; without one, nobody.
///
/// It needs no token, publishes nothing and tells no more than numbers and, in its words, what went wrong.
pub struct Probes {
    unready: watch::Sender<Unready>,
    model: watch::Sender<Option<ModelControl>>,
    server: Option<Serving>,
    parts: Supervisor,
}

/// Why the consumer is not ready, of itself.
type Unready = Option<Cow<'static, str>>;

#[derive(Clone)]
struct State {
    metrics: Metrics,
    pulse: Pulse,
    unready: watch::Receiver<Unready>,
    model: watch::Receiver<Option<ModelControl>>,
}

impl Probes {
    /// Installs the process's [`Metrics`] and serves, where there is a port: live at once, not
    /// ready before [`Probes::ready`]. The tasks for that are among the program's `parts`.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(
        settings: &ProbesConfig,
        pulse: &Pulse,
        parts: &Supervisor,
    ) -> Result<Self, StartError> {
        let (unready, readiness) = watch::channel(Some("it starts".into()));
        let (model, shown) = watch::channel(None);
        let probes = Self { unready, model, server: None, parts: parts.clone() };
        let Some(port) = settings.health_port else { return Ok(probes) };
        let (metrics, pulse) = (Metrics::install(parts)?, pulse.clone());
        let state = State { metrics, pulse, unready: readiness, model: shown };
        let asked = SocketAddr::new(settings.bind, port);
        let server = HttpServer::new(move || app(state.clone()))
            .disable_signals()
            .shutdown_timeout(1)
            .workers(1)
            .on_connect(cut_off_stalled(settings.write_timeout()))
            .bind(asked)
            .map_err(|source| StartError::from_bind(asked, "server.health_port", source))?;
        let address = server.addrs().first().copied().unwrap_or(asked);
        let part = parts.part("task that serves the probes");
        let server = Serving::start(address, server.run(), part);
        Ok(Self { server: Some(server), ..probes })
    }

    /// Where it listens, if it does.
    pub fn address(&self) -> Option<SocketAddr> {
        self.server.as_ref().map(Serving::address)
    }

    /// Answers `/model` by this, and `/readyz` with what became of a model that was to serve.
    pub fn shows(&self, model: ModelControl) {
        self.model.send_replace(Some(model));
    }

    /// Says that model and broker are there: `/readyz` is green from now on.
    pub fn ready(&self) {
        self.unready.send_replace(None);
    }

    /// Says what the consumer waits for before it is ready, such as `database sqlite:results.db`.
    pub fn waits_for(&self, dependency: &str) {
        self.unready.send_replace(Some(format!("waits for {dependency}").into()));
    }

    /// Says that the consumer drains: `/readyz` is red from now on.
    pub fn draining(&self) {
        self.unready.send_replace(Some("it drains".into()));
    }

    /// Stops answering. The program's parts may end from now on.
    pub async fn stop(self) {
        self.parts.close();
        if let Some(server) = self.server
            && let Err(error) = server.stop().await
        {
            tracing::warn!(%error, "the server of the probes ended badly");
        }
    }
}

fn app(
    state: State,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = Error,
        InitError = (),
    >,
> {
    App::new()
        .app_data(web::Data::new(state))
        .service(reading("/livez", live))
        .service(reading("/readyz", ready))
        .service(reading("/metrics", metrics))
        .service(reading("/model", model))
        .default_service(web::to(missing))
}

/// Answers `GET` and `HEAD`, and any other method with 405.
fn reading<A: FromRequest + 'static>(
    path: &str,
    handler: impl Handler<A, Output: Responder + 'static>,
) -> Resource {
    const ALLOW: &str = "GET, HEAD";
    let wrong_method = || async {
        let error = json!({ "error": format!("this address answers {ALLOW}") });
        HttpResponse::MethodNotAllowed().insert_header(("allow", ALLOW)).json(error)
    };
    web::resource(path)
        .route(web::get().to(handler.clone()))
        .route(web::head().to(handler))
        .default_service(web::to(wrong_method))
}

async fn missing() -> HttpResponse {
    HttpResponse::NotFound().json(json!({ "error": "there is nothing here" }))
}

async fn live(state: web::Data<State>) -> HttpResponse {
    health::liveness(std::slice::from_ref(&state.pulse))
}

async fn ready(state: web::Data<State>) -> HttpResponse {
    let trouble = health::trouble(std::slice::from_ref(&state.pulse));
    match trouble.map(Cow::Owned).or_else(|| state.unready.borrow().clone()) {
        None => {
            let mut body = json!({ "status": "ready" });
            // The model before it goes on, and so nothing is red.
            if let Some(trouble) = state.model.borrow().as_ref().and_then(ModelControl::trouble) {
                body["model"] = trouble.into();
            }
            HttpResponse::Ok().json(body)
        }
        Some(reason) => {
            let body = json!({ "status": "not ready", "reason": reason });
            HttpResponse::ServiceUnavailable().json(body)
        }
    }
}

async fn metrics(state: web::Data<State>) -> HttpResponse {
    // A stall is counted when it is seen.
    state.pulse.vitals();
    state.metrics.response()
}

async fn model(state: web::Data<State>) -> HttpResponse {
    match &*state.model.borrow() {
        Some(model) => HttpResponse::Ok().json(model.numbers()),
        None => HttpResponse::NotFound().json(json!({ "error": "no model is loaded yet" })),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix_web::{
        body::to_bytes,
        http::{Method, StatusCode},
        test::{TestRequest, call_service, init_service},
    };
    use serde_json::Value;

    use super::*;

    #[actix_web::test]
    async fn a_consumer_is_ready_between_its_connection_and_its_drain_and_red_while_cut_off() {
        let (_recorder, metrics) = Metrics::on_a_thread();
        let (unready, readiness) = watch::channel(Some("it starts".into()));
        let pulse = Pulse::default();
        let state = State {
            metrics,
            pulse: pulse.clone(),
            unready: readiness,
            model: watch::channel(None).1,
        };
        let service = init_service(app(state)).await;
        let status = async |path: &str| {
            call_service(&service, TestRequest::get().uri(path).to_request()).await.status()
        };
        const RED: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
        assert_eq!((status("/livez").await, status("/readyz").await), (StatusCode::OK, RED));
        unready.send_replace(None);
        assert_eq!(status("/readyz").await, StatusCode::OK);
        pulse.cut_off();
        assert_eq!((status("/livez").await, status("/readyz").await), (RED, RED));
        pulse.connected();
        assert_eq!(
            (status("/livez").await, status("/readyz").await),
            (StatusCode::OK, StatusCode::OK)
        );
        unready.send_replace(Some("it drains".into()));
        assert_eq!((status("/livez").await, status("/readyz").await), (StatusCode::OK, RED));

        let answer = call_service(&service, TestRequest::get().uri("/metrics").to_request()).await;
        let body = answer.map_into_boxed_body().into_body();
        let text = to_bytes(body).await.expect("a body");
        assert!(text.starts_with(b"# HELP fmnist_build_info This program"), "{text:?}");
        assert_eq!(status("/results").await, StatusCode::NOT_FOUND);

        let head = TestRequest::with_uri("/livez").method(Method::HEAD).to_request();
        assert_eq!(call_service(&service, head).await.status(), StatusCode::OK);
        let answer = call_service(&service, TestRequest::post().uri("/livez").to_request()).await;
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.headers().get("allow").expect("it says which"), "GET, HEAD");
    }

    #[actix_web::test]
    async fn a_dependency_that_is_away_makes_a_consumer_unready_in_words_and_never_dead() {
        let (_recorder, metrics) = Metrics::on_a_thread();
        let (_unready, readiness) = watch::channel(None);
        let pulse = Pulse::new(Duration::ZERO);
        let state = State {
            metrics,
            pulse: pulse.clone(),
            unready: readiness,
            model: watch::channel(None).1,
        };
        let service = init_service(app(state)).await;
        let ask = async |path: &str| {
            let answer = call_service(&service, TestRequest::get().uri(path).to_request()).await;
            let (status, body) = (answer.status(), answer.map_into_boxed_body().into_body());
            let body: Value = serde_json::from_slice(&to_bytes(body).await.unwrap()).unwrap();
            (status, body)
        };
        let waiting = pulse.waits_for("results topic INFERENCE-RESULTS");
        let (status, body) = ask("/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        let reason = body["reason"].as_str().unwrap();
        assert!(reason.starts_with("waits for results topic INFERENCE-RESULTS"), "{reason}");
        let (status, body) = ask("/livez").await;
        assert_eq!((status, &body["status"]), (StatusCode::OK, &"live".into()));
        assert_eq!(body["pipelines"][0]["stalled"], true);
        drop(waiting);
        assert_eq!(ask("/readyz").await.0, StatusCode::OK);
    }

    #[actix_web::test]
    async fn a_wait_of_the_start_is_told_to_prometheus_before_a_pipeline_runs() {
        let (recorder, metrics) = Metrics::on_a_thread();
        let (_unready, readiness) = watch::channel(Some("it starts".into()));
        let pulse = Pulse::new(Duration::ZERO);
        metrics::with_local_recorder(&recorder, || pulse.measure("kafka"));
        let state = State {
            metrics,
            pulse: pulse.clone(),
            unready: readiness,
            model: watch::channel(None).1,
        };
        let service = init_service(app(state)).await;
        let ask = async |path: &str| {
            let answer = call_service(&service, TestRequest::get().uri(path).to_request()).await;
            let body = answer.map_into_boxed_body().into_body();
            String::from_utf8(to_bytes(body).await.unwrap().to_vec()).unwrap()
        };
        let told = async |sample: &str| ask("/metrics").await.lines().any(|line| line == sample);
        assert!(told(r#"fmnist_stalled{transport="kafka"} 0"#).await);
        let waiting = pulse.waits_for("database sqlite:results.db");
        assert!(told(r#"fmnist_stalled{transport="kafka"} 1"#).await);
        let reason = ask("/readyz").await;
        assert!(reason.contains("waits for database sqlite:results.db for 0 s"), "{reason}");
        drop(waiting);
        assert!(told(r#"fmnist_stalled{transport="kafka"} 0"#).await);
    }

    #[actix_web::test]
    async fn a_model_that_is_not_taken_is_told_by_a_consumer_that_stays_ready() {
        let (_recorder, metrics) = Metrics::on_a_thread();
        let (shows, model) = watch::channel(None);
        let state =
            State { metrics, pulse: Pulse::default(), unready: watch::channel(None).1, model };
        let service = init_service(app(state)).await;
        let ask = async |path: &str| {
            let answer = call_service(&service, TestRequest::get().uri(path).to_request()).await;
            let (status, body) = (answer.status(), answer.map_into_boxed_body().into_body());
            let body: Value = serde_json::from_slice(&to_bytes(body).await.unwrap()).unwrap();
            (status, body)
        };
        assert_eq!(ask("/model").await.0, StatusCode::NOT_FOUND);
        let control = crate::model::tests::control(&Supervisor::new());
        shows.send_replace(Some(control.clone()));
        assert_eq!(ask("/readyz").await.1, json!({ "status": "ready" }));
        control.load(Some("cut.bin".into())).await.unwrap_err();
        let (status, body) = ask("/readyz").await;
        let said = "refused: cut.bin is not taken, and doubled 1 goes on: cut.bin is no model";
        assert_eq!((status, &body["model"]), (StatusCode::OK, &said.into()));
        let (status, body) = ask("/model").await;
        assert_eq!((status, &body["model"]["version"]), (StatusCode::OK, &"1".into()));
        assert_eq!(body["changes"][0]["change"], "refused");
    }

    #[test]
    fn a_part_of_the_probes_that_ends_early_is_named_and_one_that_ends_after_the_stop_is_not() {
        let settings = ProbesConfig { health_port: Some(0), ..ProbesConfig::default() };
        let (parts, runtime) = (Supervisor::new(), tokio::runtime::Runtime::new().unwrap());
        let probes =
            runtime.block_on(async { Probes::start(&settings, &Pulse::default(), &parts) });
        let server = probes.unwrap().server.unwrap();
        assert_eq!(parts.failure(), None);
        server.abort();
        let ended = runtime.block_on(parts.ended());
        assert_eq!(ended.as_deref(), Some("the task that serves the probes ended early"));

        let parts = Supervisor::new();
        let upkeep = runtime
            .spawn(crate::metrics::sum_up(Metrics::on_a_thread().0.handle(), parts.part("upkeep")));
        upkeep.abort();
        assert_eq!(runtime.block_on(parts.ended()).as_deref(), Some("the upkeep ended early"));

        let parts = Supervisor::new();
        let without_port = ProbesConfig::default();
        let probes = Probes::start(&without_port, &Pulse::default(), &parts).unwrap();
        let part = parts.part("task");
        runtime.block_on(probes.stop());
        drop(part);
        assert_eq!(parts.failure(), None);
    }

    #[tokio::test]
    async fn without_a_port_nothing_listens_and_nothing_is_recorded() {
        let parts = Supervisor::new();
        let probes = Probes::start(&ProbesConfig::default(), &Pulse::default(), &parts);
        let probes = probes.expect("nothing");
        assert_eq!(probes.address(), None);
        probes.ready();
        probes.stop().await;
    }
}
