//! Calls are counted and timed by the names of HTTP requests.

use frontend_grpc::wire::{ModelInferResponse, ServerLiveRequest};

use crate::{
    client::Client,
    models::{INFER, request, sneakers},
    served, settings,
};

/// On one thread, so that a recorder of its own sees the server, too.
#[tokio::test]
async fn calls_are_counted_by_method_and_class_and_inference_by_kserves_names() {
    let (recorder, told) = service::Metrics::on_a_thread();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let running = served(settings(), sneakers());
    let client = Client::connect(running.grpc_address().unwrap()).await;
    for _ in 0..2 {
        let _: ModelInferResponse = client.call(INFER, &request("sneakers", &[1])).await.unwrap();
    }
    client.refused(INFER, &request("sneakers", &[0])).await;
    client.refused(INFER, &request("base", &[1])).await;
    for path in ["/a/b", "/c/d"] {
        client.refused(path, &ServerLiveRequest {}).await;
    }
    let told = told.text();
    let requests = |route: &str, class: &str| {
        format!("fmnist_http_requests_total{{route=\"{route}\",status=\"{class}\"}}")
    };
    for (sample, expected) in [
        (requests(INFER, "2xx"), 2),
        (requests(INFER, "4xx"), 1),
        (requests(INFER, "5xx"), 1),
        // Anybody can ask for any path.
        (requests("other", "4xx"), 2),
        (format!("fmnist_http_request_seconds_count{{route=\"{INFER}\"}}"), 4),
        ("request_predict_seconds_count{model_name=\"sneakers\"}".to_owned(), 2),
    ] {
        assert!(
            told.lines().any(|line| line == format!("{sample} {expected}")),
            "{sample} in\n{told}"
        );
    }
    running.stop().await;
}
