//! Who may ask.

use super::*;

#[actix_web::test]
async fn foreign_pages_cannot_publish() {
    let world = World::new();
    let cases: [(&[(&str, &str)], u16); 11] = [
        (&[], 200),
        (&[("sec-fetch-site", "same-origin")], 200),
        (&[("sec-fetch-site", "none")], 200),
        (&[("origin", "http://127.0.0.1:5000")], 200),
        (&[("sec-fetch-site", "cross-site")], 403),
        (&[("sec-fetch-site", "same-site")], 403),
        (&[("origin", "http://evil.example")], 403),
        (&[("origin", "http://127.0.0.1:3000")], 403),
        (&[("origin", "null")], 403),
        (&[("sec-fetch-site", "same-origin"), ("origin", "http://evil.example")], 403),
        (&[("sec-fetch-site", "none"), ("origin", "http://127.0.0.1:5000.evil.example")], 403),
    ];
    let form = [("message_broker", "kafka"), ("start_idx", "0"), ("end_idx", "5")];
    let range = "/kafka/push-to-consumer?start_idx=0&end_idx=5";
    for (headers, status) in cases {
        let requests = [
            (TestRequest::get().uri(range), status),
            (TestRequest::post().uri(range), status),
            (TestRequest::post().set_form(form), if status == 200 { 302 } else { status }),
            (multipart(&test_set().images[0].to_png()).uri("/kafka/images"), status),
            (multipart(&test_set().images[0].to_png()).uri("/classify"), status),
        ];
        for (request, expected) in requests {
            let add = |request: TestRequest, header: &(&'static str, &'static str)| {
                request.insert_header(*header)
            };
            let found = world.call(headers.iter().fold(request, add)).await;
            assert_eq!(found.status(), expected, "{headers:?}");
        }
    }
}

#[actix_web::test]
async fn a_foreign_name_that_points_here_is_refused() {
    let world = World::new();
    let service = init_service(app(world.site.clone())).await;
    let cases = [
        ("127.0.0.1:5000", 200),
        ("localhost", 200),
        ("LOCALHOST:5000", 200),
        ("[::1]:5000", 200),
        ("evil.example:5000", 403),
        ("127.0.0.1.evil.example", 403),
        ("192.168.0.7:5000", 403),
    ];
    for (host, status) in cases {
        for path in ["/", "/results", "/kafka/push-to-consumer?start_idx=0&end_idx=5"] {
            let request = TestRequest::get().uri(path).insert_header((header::HOST, host));
            let found = call_service(&service, request.to_request()).await.status();
            assert_eq!(found, status, "{host} {path}");
        }
    }
}

#[actix_web::test]
async fn with_a_token_only_its_holders_are_answered() {
    let settings = ServerConfig { api_token: Some(TOKEN.to_owned()), ..ServerConfig::default() };
    let world = World::with(settings, |frontend| frontend);
    let form = [("message_broker", "kafka"), ("start_idx", "0"), ("end_idx", "5")];
    let requests = || {
        [
            TestRequest::get().uri("/kafka/push-to-consumer?start_idx=0&end_idx=5"),
            TestRequest::post().set_form(form),
            TestRequest::get().uri("/results"),
            multipart(&test_set().images[0].to_png()).uri("/classify"),
        ]
    };
    for request in requests() {
        assert_eq!(world.call(request).await.status(), StatusCode::UNAUTHORIZED);
    }
    for request in requests() {
        let wrong = request.insert_header((header::AUTHORIZATION, "Bearer 0123456789abcdeF"));
        assert_eq!(world.call(wrong).await.status(), StatusCode::UNAUTHORIZED);
    }
    for request in requests() {
        let right = request.insert_header((header::AUTHORIZATION, format!("Bearer {TOKEN}")));
        assert!(world.call(right).await.status().as_u16() < 400);
    }
    for path in ["/livez", "/readyz"] {
        assert_eq!(world.get(path).await.0, StatusCode::OK);
    }
}

#[actix_web::test]
async fn signing_in_gives_a_cookie_that_opens_the_page() {
    let settings = ServerConfig { api_token: Some(TOKEN.to_owned()), ..ServerConfig::default() };
    let world = World::with(settings, |frontend| frontend);
    let page = text(world.call(TestRequest::get().uri("/")).await).await;
    assert!(page.contains("action=\"/login\"") && !page.contains("message_broker"));

    let wrong = TestRequest::post().uri("/login").set_form([("token", "wrong")]);
    assert_eq!(world.call(wrong).await.status(), StatusCode::UNAUTHORIZED);
    let right = TestRequest::post().uri("/login").set_form([("token", TOKEN)]);
    let response = world.call(right).await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    let cookie = response.response().cookies().next().unwrap().into_owned();
    assert_eq!(cookie.http_only(), Some(true));
    assert_eq!(cookie.same_site(), Some(actix_web::cookie::SameSite::Strict));

    let page = text(world.call(TestRequest::get().uri("/").cookie(cookie)).await).await;
    assert!(page.contains("message_broker"));
}

#[actix_web::test]
async fn every_answer_carries_the_strict_headers() {
    let world = World::new();
    let foreign = TestRequest::get().uri("/kafka/push-to-consumer");
    let requests = [
        TestRequest::get().uri("/"),
        TestRequest::get().uri("/nowhere"),
        TestRequest::get().uri("/kafka/push-to-consumer"),
        foreign.insert_header(("sec-fetch-site", "cross-site")),
    ];
    for request in requests {
        let response = world.call(request).await;
        let headers = response.headers();
        let value = |name: &str| headers.get(name).unwrap().to_str().unwrap();
        assert!(value("content-security-policy").starts_with("default-src 'none'; "));
        assert_eq!(value("x-content-type-options"), "nosniff");
        assert_eq!(value("x-frame-options"), "DENY");
        assert_eq!(value("cache-control"), "no-store");
        assert!(!headers.contains_key("access-control-allow-origin"));
    }
}

const NAME: &str = "garments.example.com";

fn behind_a_proxy() -> World {
    let api_token = Some(TOKEN.to_owned());
    let settings =
        ServerConfig { api_token, hosts: vec![NAME.to_owned()], ..ServerConfig::default() };
    World::with(settings, |frontend| frontend)
}

async fn status(
    world: &World,
    request: TestRequest,
    headers: &[(&'static str, &str)],
) -> StatusCode {
    let service = init_service(app(world.site.clone())).await;
    let request = headers.iter().fold(request, |request, header| request.insert_header(*header));
    let request = request.insert_header((header::AUTHORIZATION, format!("Bearer {TOKEN}")));
    call_service(&service, request.to_request()).await.status()
}

#[actix_web::test]
async fn a_listed_name_is_served_and_what_a_proxy_says_of_names_is_not_believed() {
    let world = behind_a_proxy();
    let cases: [(&[(&str, &str)], u16); 9] = [
        (&[("host", NAME)], 200),
        (&[("host", "GARMENTS.example.com:8443")], 200),
        (&[("host", "garments.example.com.")], 200),
        (&[("host", HOST)], 200),
        (&[("host", "other.example.com")], 403),
        (&[("host", "evil.garments.example.com")], 403),
        (&[("host", "other.example.com"), ("x-forwarded-host", NAME)], 403),
        (&[("host", "other.example.com"), ("forwarded", "host=garments.example.com")], 403),
        (&[], 403),
    ];
    for (headers, expected) in cases {
        let found = status(&world, TestRequest::get().uri("/results"), headers).await;
        assert_eq!(found, expected, "{headers:?}");
    }
    // Without the list nothing opens.
    let settings = ServerConfig { api_token: Some(TOKEN.to_owned()), ..ServerConfig::default() };
    let world = World::with(settings, |frontend| frontend);
    for headers in [&[("host", NAME)][..], &[("host", NAME), ("x-forwarded-host", HOST)]] {
        let found = status(&world, TestRequest::get().uri("/results"), headers).await;
        assert_eq!(found, StatusCode::FORBIDDEN, "{headers:?}");
    }
}

#[actix_web::test]
async fn the_page_behind_a_proxy_publishes_and_other_pages_do_not() {
    let world = behind_a_proxy();
    let own = "https://garments.example.com";
    let cases: [(&[(&str, &str)], u16); 6] = [
        (&[("host", NAME), ("origin", own), ("sec-fetch-site", "same-origin")], 200),
        // Its Host is the proxy's own where nothing else was told.
        (&[("host", HOST), ("origin", own), ("sec-fetch-site", "same-origin")], 200),
        (&[("host", HOST), ("origin", "http://garments.example.com")], 403),
        (&[("host", NAME), ("origin", "https://evil.example")], 403),
        (&[("host", NAME), ("origin", own), ("sec-fetch-site", "cross-site")], 403),
        (&[("host", NAME), ("origin", "https://garments.example.com.evil.example")], 403),
    ];
    for (headers, expected) in cases {
        let push = TestRequest::post().uri("/kafka/push-to-consumer?start_idx=0&end_idx=5");
        assert_eq!(status(&world, push, headers).await, expected, "{headers:?}");
    }
}

#[actix_web::test]
async fn the_cookie_of_a_page_with_tls_travels_in_no_other_way() {
    let world = behind_a_proxy();
    let service = init_service(app(world.site.clone())).await;
    let cases: [(&[(&str, &str)], bool); 4] = [
        (&[("host", NAME)], true),
        (&[("host", NAME), ("origin", "https://garments.example.com")], true),
        (&[("host", HOST), ("origin", "https://garments.example.com")], true),
        (&[("host", HOST), ("x-forwarded-proto", "https")], false),
    ];
    for (headers, expected) in cases {
        let request = TestRequest::post().uri("/login").set_form([("token", TOKEN)]);
        let request =
            headers.iter().fold(request, |request, header| request.insert_header(*header));
        let response = call_service(&service, request.to_request()).await;
        assert_eq!(response.status(), StatusCode::SEE_OTHER, "{headers:?}");
        let cookie = response.response().cookies().next().unwrap().into_owned();
        assert_eq!(cookie.secure().unwrap_or(false), expected, "{headers:?}");
    }
    let page = TestRequest::get()
        .insert_header(("host", NAME))
        .insert_header(("x-forwarded-host", "evil.example"));
    let page = page.insert_header((header::COOKIE, format!("fmnist_token={TOKEN}")));
    let page = call_service(&service, page.to_request()).await.map_into_boxed_body();
    let page = text(page).await;
    assert!(page.contains("curl 'https://garments.example.com/kafka/"), "{page}");
}

#[actix_web::test]
async fn a_wrong_token_brings_the_form_back_with_a_word() {
    let world = behind_a_proxy();
    let wrong = TestRequest::post().uri("/login").set_form([("token", "wrong")]);
    let response = world.call(wrong).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let page = text(response).await;
    assert!(
        page.contains("This is not the token.") && page.contains("action=\"/login\""),
        "{page}"
    );
}

#[actix_web::test]
async fn two_hosts_are_one_too_many() {
    let world = World::new();
    let service = init_service(app(world.site.clone())).await;
    let request = TestRequest::get().uri("/results");
    let request = request.append_header(("host", HOST)).append_header(("host", "evil.example"));
    let found = call_service(&service, request.to_request()).await.status();
    assert_eq!(found, StatusCode::FORBIDDEN);
}
