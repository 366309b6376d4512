//! The model in service, its candidate, and what became of models before it.

use super::*;

#[test]
fn a_candidate_is_seen_with_the_pictures_on_which_it_differs_and_serves_once_it_is_told() {
    let variables = [("FMNIST_MODEL__SHADOW", "notebook"), ("FMNIST_MODEL__SHADOW_PERCENT", "100")];
    let demo = Demo::with(&variables);
    let browser = Browser::open(&demo.url);
    browser.wait("document.querySelector('#model-text').innerText.startsWith('base 1.0 (')");
    browser.wait(
        "document.querySelector('#drift').innerText === 'Drift: not known before 1,000 images'",
    );
    send_range(&browser, 0, 400);
    let compared = "document.querySelector('#candidate-text').innerText";
    browser.wait(&format!("/^notebook .*: agrees on .* images?, takes /.test({compared})"));
    // Of synthetic images, on which two models do differ.
    browser.wait("document.querySelectorAll('#differences img').length > 0");
    let alt = browser.run("return document.querySelector('#differences img').alt");
    assert!(alt.as_str().unwrap().contains(" or "), "{alt}");

    let promote = "return fetch('/v2/repository/models/base/promote', { method: 'POST' })
        .then((answer) => answer.status)";
    assert_eq!(browser.run(promote), 200);
    browser.wait("document.querySelector('#model-text').innerText.startsWith('notebook ')");
    browser.wait("document.querySelector('#candidate').hidden");
    browser
        .wait("/ notebook .* now serves$/.test(document.querySelector('#changes li').innerText)");
    send_range(&browser, 3, 8);
    wait_for_card(&browser, "Images 3 to 7");
    assert!(browser.text(FIRST_CARD).contains(" · notebook "), "{}", browser.text(FIRST_CARD));
}
