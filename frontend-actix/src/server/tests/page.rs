//! What the page says of model and data.

use fmnist_core::dataset::Origin;

use super::*;

#[actix_web::test]
async fn the_page_says_what_it_serves() {
    let world = World::new();
    let page = text(world.call(TestRequest::get().uri("/")).await).await;
    assert!(page.contains("20 synthetic images") && page.contains("sneakers 1.0"));
    assert!(page.contains("max=\"20\"") && page.contains("action=\"/\""));
    assert!(!page.contains("{{"), "an unfilled place");
}

#[actix_web::test]
async fn a_model_and_data_of_ones_own_are_not_called_by_other_names() {
    let origin = Origin::Files("shoes".into());
    let page = async |model: Arc<FakeModel>, data: Dataset| {
        let world =
            World::with(ServerConfig::default(), |f| f.with_model(model).with_test_set(&data));
        text(world.call(TestRequest::get().uri("/")).await).await
    };
    let labels = ["boot", "clog"].map(str::to_owned).to_vec();
    let classes = Arc::from(labels.clone());
    let own = Arc::new(Arc::into_inner(sneakers()).unwrap().with_labels(labels));
    let data = Dataset { classes, origin: origin.clone(), ..test_set() };
    let shown = page(own, data).await;
    assert!(shown.contains("data: 20 test images of your own."), "{shown}");
    assert!(shown.contains("<p>Pictures, classified") && shown.contains("Picture of one thing"));
    assert!(!shown.contains("Fashion-MNIST") && !shown.contains("garment"), "{shown}");

    let official = Dataset { origin, ..test_set() };
    let shown = page(sneakers(), official).await;
    assert!(shown.contains("data: the 20 test images of Fashion-MNIST."), "{shown}");
}
