//! The model in service: seen, exchanged, taken back.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::{config::ModelConfig, operate};

const BASE: &[u8] = include_bytes!("../../../../fmnist-core/weights/base.safetensors");

/// A page in front of `base`, with a folder of models.
struct Operated {
    world: World,
    folder: TempDir,
}

impl Operated {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config =
            ModelConfig { repository: Some(folder.path().to_owned()), ..Default::default() };
        let model = config.classifier().unwrap();
        let (slot, control) =
            operate(&config, model, &test_set(), &Supervisor::new()).await.unwrap();
        let world = World::with(ServerConfig::default(), |frontend| {
            frontend.with_model(Arc::new(slot)).with_control(control, config.repository)
        });
        Self { world, folder }
    }

    async fn post(&self, what: &str, body: &str) -> (StatusCode, Value) {
        let path = format!("/v2/repository/models/{what}");
        let request = TestRequest::post().uri(&path).set_payload(body.to_owned());
        answer(self.world.call(request).await).await
    }

    async fn load(&self, file: &str) -> (StatusCode, Value) {
        let body = json!({ "parameters": { "file": file } }).to_string();
        self.post("base/load", &body).await
    }

    fn put(&self, name: &str, content: &[u8]) {
        fs::write(self.folder.path().join(name), content).unwrap();
    }
}

#[actix_web::test]
async fn a_file_of_the_folder_serves_and_is_taken_back_and_both_are_seen() {
    let operated = Operated::new().await;
    let (status, body) = operated.world.get("/model").await;
    assert_eq!((status, &body["model"]["name"]), (StatusCode::OK, &json!("base")));
    assert_eq!(body["changes"], json!([]));
    operated.put("base.safetensors", BASE);
    for body in ["", "{}", r#"{"parameters": {"file": "base.safetensors"}}"#] {
        let (status, body) = operated.post("base/load", body).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert_eq!(body["probation_batches"], 100);
    }
    let (status, body) = operated.post("base/unload", "").await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let changes = body["changes"].as_array().unwrap();
    let told: Vec<_> = changes.iter().map(|change| &change["change"]).collect();
    assert_eq!(told, ["swapped", "swapped", "swapped", "rolled_back"]);
    let (_, ready) = operated.world.get("/readyz").await;
    assert_eq!(
        (&ready["status"], &ready["model"]),
        (&json!("ready"), &json!("rolled back: it was unloaded"))
    );
    // Two models on probation follow the first; there is one step back.
    let (status, body) = operated.post("base/unload", "").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        body["error"].as_str().unwrap().starts_with("there is no model to go back to"),
        "{body}"
    );
    assert_eq!(operated.post("base/promote", "").await.0, StatusCode::BAD_REQUEST);
}

#[actix_web::test]
async fn a_file_that_is_cut_damaged_or_not_there_is_refused_in_words_and_the_model_goes_on() {
    let operated = Operated::new().await;
    operated.put("cut.safetensors", &BASE[..BASE.len() / 2]);
    let mut damaged = BASE.to_vec();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 400].fill(0x3f);
    operated.put("damaged.safetensors", &damaged);
    for (file, why) in [
        ("cut.safetensors", "safetensors"),
        ("damaged.safetensors", "golden"),
        ("absent.safetensors", "no such file exists"),
    ] {
        let (status, body) = operated.load(file).await;
        let reason = body["error"].as_str().unwrap();
        assert_eq!(status, StatusCode::BAD_REQUEST);
        let expected = format!("{file} is not taken, and base 1.0 goes on: ");
        let said = reason.split_once(&expected).map(|(_, said)| said);
        assert!(said.is_some_and(|said| said.contains(why)), "{reason}");
    }
    let (_, state) = operated.world.get("/model").await;
    assert_eq!(state["changes"].as_array().unwrap().len(), 3);
    assert_eq!(operated.world.get("/readyz").await.1["status"], "ready");
}

#[actix_web::test]
async fn only_a_bare_name_of_the_configured_folder_can_be_loaded_and_only_into_this_model() {
    let operated = Operated::new().await;
    operated.put("base.safetensors", BASE);
    for file in
        ["../base.safetensors", "/base.safetensors", "a/b", "..", ".hidden", "", "a\0b", "C:x"]
    {
        let (status, body) = operated.load(file).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{file}: {body}");
        assert!(body["error"].as_str().unwrap().starts_with("expected the bare name"), "{body}");
    }
    let config = r#"{"parameters": {"config": "{}"}}"#;
    assert_eq!(operated.post("base/load", config).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(operated.post("other/load", "").await.0, StatusCode::NOT_FOUND);
    let (_, state) = operated.world.get("/model").await;
    assert_eq!(state["changes"], json!([]));

    // Without a folder there is none to name a file of, and without a slot nothing to see.
    let config = ModelConfig::default();
    let model = config.classifier().unwrap();
    let (slot, control) = operate(&config, model, &test_set(), &Supervisor::new()).await.unwrap();
    let world = World::with(ServerConfig::default(), |frontend| {
        frontend.with_model(Arc::new(slot)).with_control(control, None)
    });
    let request = TestRequest::post().uri("/v2/repository/models/base/load");
    let (status, body) = answer(world.call(request).await).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(body["error"].as_str().unwrap().contains("model.repository"), "{body}");
    assert_eq!(World::new().get("/model").await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[actix_web::test]
async fn who_has_no_token_or_comes_from_a_foreign_page_exchanges_nothing() {
    let settings = ServerConfig { api_token: Some(TOKEN.to_owned()), ..ServerConfig::default() };
    let world = World::with(settings, |frontend| frontend);
    for what in ["load", "unload", "promote"] {
        let path = format!("/v2/repository/models/sneakers/{what}");
        let request = TestRequest::post().uri(&path);
        assert_eq!(world.call(request).await.status(), StatusCode::UNAUTHORIZED, "{what}");
        let request =
            TestRequest::post().uri(&path).insert_header(("sec-fetch-site", "cross-site"));
        assert_eq!(World::new().call(request).await.status(), StatusCode::FORBIDDEN, "{what}");
    }
}

/// Is exchanged for version 2.0 as soon as it has answered.
struct Exchanged(Arc<FakeModel>);

impl Predictor for Exchanged {
    type Input = Image;
    type Output = Prediction;

    fn predict(&self, images: &[Image]) -> Result<Vec<Prediction>, PredictError> {
        self.0.predict(images)
    }

    fn identity(&self) -> Arc<ModelIdentity> {
        let identity = self.0.identity();
        Arc::new(ModelIdentity { version: "2.0".to_owned(), ..ModelIdentity::clone(&identity) })
    }
}

impl Infer for Exchanged {
    fn labels(&self) -> &[String] {
        self.0.labels()
    }
}

#[actix_web::test]
async fn a_picture_names_the_model_that_saw_it_and_not_the_one_that_serves_by_then() {
    let exchanged = Arc::new(Exchanged(sneakers()));
    let world = World::with(ServerConfig::default(), |frontend| frontend.with_model(exchanged));
    let request = multipart(&test_set().images[0].to_png()).uri("/classify");
    let (status, body) = answer(world.call(request).await).await;
    assert_eq!((status, &body["model"]["version"]), (StatusCode::OK, &json!("1.0")));
}

#[actix_web::test]
async fn callers_find_the_model_under_the_name_that_it_began_with() {
    let operated = Operated::new().await;
    operated.put(
        "tiny.safetensors",
        include_bytes!("../../../../fmnist-core/weights/tiny.safetensors"),
    );
    let (status, body) = operated.load("tiny.safetensors").await;
    assert_eq!((status, &body["model"]["name"]), (StatusCode::OK, &json!("tiny")));
    for name in ["base", "tiny"] {
        let (status, body) = operated.world.get(&format!("/v2/models/{name}")).await;
        assert_eq!((status, &body["name"]), (StatusCode::OK, &json!("tiny")));
    }
    assert_eq!(operated.world.get("/v2/models/notebook").await.0, StatusCode::NOT_FOUND);
    assert_eq!(operated.post("base/unload", "").await.1["model"]["name"], "base");
}
