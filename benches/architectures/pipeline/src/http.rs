use fmnist_core::{Image, PredictError};
use serde_json::json;
use ureq::Agent;

use crate::remote::{LONGEST_REQUEST, MODEL, Server, floats};

const JSON_BYTES: &str = "Inference-Header-Content-Length";

/// The protocol over HTTP, with binary tensors both ways.
pub(crate) struct Http {
    agent: Agent,
    url: String,
}

impl Http {
    pub(crate) fn new(server: &str) -> Self {
        let agent = Agent::config_builder()
            .timeout_global(Some(LONGEST_REQUEST))
            .http_status_as_error(false)
            .build()
            .new_agent();
        Self { agent, url: format!("{server}/v2/models/{MODEL}/infer") }
    }
}

impl Server for Http {
    fn probabilities(&self, images: &[Image]) -> Result<Vec<f32>, PredictError> {
        let away = |error: ureq::Error| PredictError::unavailable(error.to_string());
        let bytes = images.len() * Image::PIXELS;
        let head = json!({
            "inputs": [{
                "name": "image",
                "shape": [images.len(), 1, 28, 28],
                "datatype": "UINT8",
                "parameters": {"binary_data_size": bytes},
            }],
            "outputs": [{"name": "probabilities", "parameters": {"binary_data": true}}],
        })
        .to_string();
        let json_bytes = head.len().to_string();
        let mut body = head.into_bytes();
        images.iter().for_each(|image| body.extend_from_slice(image.pixels()));
        let mut answer = self
            .agent
            .post(&self.url)
            .header(JSON_BYTES, &json_bytes)
            .content_type("application/octet-stream")
            .send(&body[..])
            .map_err(away)?;
        let json_bytes = answer
            .headers()
            .get(JSON_BYTES)
            .and_then(|bytes| bytes.to_str().ok()?.parse::<usize>().ok());
        let status = answer.status();
        let body = answer.body_mut().read_to_vec().map_err(away)?;
        match (status.as_u16(), json_bytes.and_then(|bytes| body.get(bytes..))) {
            (200, Some(probabilities)) => Ok(floats(probabilities)),
            (429 | 500.., _) => Err(PredictError::unavailable(format!("answered {status}"))),
            _ => Err(format!("answered {status}: {}", String::from_utf8_lossy(&body)).into()),
        }
    }
}
