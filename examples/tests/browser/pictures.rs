//! Pictures of the user's own.

use std::{fs, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;
use tempfile::TempDir;

use crate::{
    driver::{Browser, RIGHT, SPACE},
    send_range,
    served::Demo,
    wait_for_card, was_hacked,
};

const FILE: &str = "[name=image]";
const THROUGH: &str = "[data-broker]";

/// A dark trouser on a light ground, as a photo would show it: a bitmap file of 120×160 pixels.
fn photo() -> Vec<u8> {
    const WIDTH: u32 = 120;
    const HEIGHT: u32 = 160;
    let mut file = b"BM".to_vec();
    let numbers = |file: &mut Vec<u8>, numbers: &[u32]| {
        file.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    };
    numbers(&mut file, &[54 + WIDTH * HEIGHT * 3, 0, 54, 40, WIDTH, HEIGHT]);
    // One plane of 24 bits a pixel, uncompressed; rows begin at the bottom.
    numbers(&mut file, &[1 | 24 << 16, 0, WIDTH * HEIGHT * 3, 0, 0, 0, 0]);
    for y in (0..HEIGHT).rev() {
        for x in 0..WIDTH {
            let belt = (20..40).contains(&y) && (35..85).contains(&x);
            let legs = (40..140).contains(&y) && matches!(x, 35..=55 | 65..=84);
            file.extend([if belt || legs { 40 } else { 230 }; 3]);
        }
    }
    file
}

pub(crate) fn stored_photo(folder: &TempDir, name: &str) -> std::path::PathBuf {
    let path = Path::new(folder.path()).join(name);
    fs::write(&path, photo()).unwrap();
    path
}

#[test]
fn a_photo_is_shown_as_the_model_sees_it_and_goes_through_the_stream() {
    let (demo, folder) = (Demo::start(), tempfile::tempdir().unwrap());
    let browser = Browser::open(&demo.url);
    browser.attach(FILE, &stored_photo(&folder, "trouser.bmp"));
    browser.wait("document.querySelectorAll('#upload-answer li').length === 3");
    let answer = browser.text("#upload-answer");
    assert!(answer.starts_with("Trouser\n"), "{answer}");
    // Bright on black, whatever the photo was.
    let pixels = "const at = (x, y) => document.querySelector('#prepared')
        .getContext('2d').getImageData(x, y, 1, 1).data[0];
        return [at(0, 0), at(10, 14) > 150]";
    assert_eq!(browser.run(pixels), json!([0, true]));

    browser.click(THROUGH);
    wait_for_card(&browser, "trouser.bmp");
    browser.wait("document.querySelector('.card canvas.picture')");
    assert!(browser.text(".card").contains("Trouser"), "{}", browser.text(".card"));
}

#[test]
fn a_database_keeps_results_and_their_pictures_for_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("results.db").display());
    let variables = [("FMNIST_DATABASE__URL", &*url)];
    let demo = Demo::with(&variables);
    let browser = Browser::open(&demo.url);
    browser.attach(FILE, &stored_photo(&folder, "trouser.bmp"));
    browser.click(THROUGH);
    wait_for_card(&browser, "trouser.bmp");
    drop(demo);

    let demo = Demo::with(&variables);
    browser.visit(&demo.url);
    wait_for_card(&browser, "1 image sent in");
    browser.wait("document.querySelector('.card img.picture')?.naturalWidth === 28");
    browser.wait("document.querySelector('#health').innerText.includes('Database reachable')");
    // The toys number their messages from 0 again, and what is new is shown all the same.
    (0..4).for_each(|start| send_range(&browser, start, start + 1));
    browser.wait("document.querySelectorAll('.card').length === 5");
}

#[test]
fn a_script_in_a_file_name_is_text() {
    let (demo, folder) = (Demo::start(), tempfile::tempdir().unwrap());
    let browser = Browser::open(&demo.url);
    let name = "<img src=x onerror=window.hacked=true><script>window.hacked=true<!.bmp";
    browser.attach(FILE, &stored_photo(&folder, name));
    browser.wait("document.querySelectorAll('#upload-answer li').length === 3");
    assert_eq!(browser.text("#picture-name"), name);
    browser.click(THROUGH);
    browser.wait("document.querySelector('.card')");
    browser.wait("document.querySelector('.card h3').innerText.startsWith('<img src=x')");
    // A field that gets the same path again reports no change.
    let broken = format!("{name}.png");
    fs::write(folder.path().join(&broken), "no picture").unwrap();
    browser.attach(FILE, &folder.path().join(&broken));
    browser.wait("document.querySelector('#upload-answer.bad')");
    assert!(browser.text("#upload-answer").starts_with(name));
    assert_eq!(browser.run("return document.querySelectorAll('img[src=x]').length"), 0);
    assert_eq!(was_hacked(&browser), false);
}

#[test]
fn a_drawing_by_keyboard_is_classified() {
    let demo = Demo::start();
    let browser = Browser::open(&demo.url);
    browser.click("summary");
    browser.run("document.querySelector('#drawing').focus()");
    browser.press(&[SPACE, RIGHT, RIGHT, RIGHT, RIGHT, RIGHT, SPACE]);
    browser.wait("document.querySelectorAll('#upload-answer li').length === 3");
    assert_eq!(browser.text("#picture-name"), "drawing");
}

#[test]
fn what_is_pasted_or_dropped_is_classified_and_what_is_no_picture_is_refused_in_words() {
    let demo = Demo::start();
    let browser = Browser::open(&demo.url);
    let hand_over = |event: &str, transfer: &str, content: &str, name: &str| {
        browser.run(&format!(
            "const data = new DataTransfer();
             data.items.add(new File([{content}], '{name}', {{ type: 'image/png' }}));
             const init = {{ bubbles: true, cancelable: true, {transfer}: data }};
             document.body.dispatchEvent(new {event}, init));"
        ));
    };
    let (paste, drop) = ("ClipboardEvent('paste'", "DragEvent('drop'");
    let encoded = STANDARD.encode(photo());
    let picture = format!("Uint8Array.from(atob('{encoded}'), (c) => c.charCodeAt(0))");
    hand_over(paste, "clipboardData", &picture, "pasted.png");
    browser.wait("document.querySelector('#picture-name').innerText === 'pasted.png'");
    hand_over(drop, "dataTransfer", &picture, "dropped.png");
    browser.wait("document.querySelector('#picture-name').innerText === 'dropped.png'");
    hand_over(drop, "dataTransfer", "'no picture'", "text.png");
    browser.wait("document.querySelector('#upload-answer.bad')");
    let said = browser.text("#upload-answer");
    assert!(said.starts_with("text.png: The image can't be read: "), "{said}");
}
