//! Data of one's own: pictures in folders, and IDX files with names of their own.

use std::{fs, path::Path};

use tempfile::TempDir;

use super::super::*;
use super::{Image, folder, images_file, labels_file};

/// A bright square of this side in the upper left, 28×28 as the model sees it.
fn square(side: usize) -> Image {
    Image::from_fn(|row, column| if row.max(column) < side { 200 } else { 0 })
}

/// `a` has squares of sides 1 to 7, `b` of 8 to 13, named so that their order is that of the sides.
fn pictures(place: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (class, sides) in [("b", 8..14), ("a", 1..8)] {
        let folder = folder.path().join(place).join(class);
        fs::create_dir_all(&folder).unwrap();
        for side in sides {
            fs::write(folder.join(format!("{side:02}.png")), square(side).to_png()).unwrap();
        }
    }
    folder
}

fn opened(folder: &Path, split: Split) -> Dataset {
    SearchPath::folder(folder).open(split).unwrap()
}

fn refusal(folder: &Path) -> String {
    SearchPath::folder(folder).open(Split::Train).unwrap_err().to_string()
}

fn squares(sides: &[usize]) -> Vec<Image> {
    sides.iter().copied().map(square).collect()
}

#[test]
fn every_fifth_picture_is_for_the_test_where_no_folder_is() {
    let folder = pictures("train");
    let (train, test) = (opened(folder.path(), Split::Train), opened(folder.path(), Split::Test));
    assert_eq!(*train.classes, ["a", "b"]);
    assert_eq!(train.labels[..], [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]);
    assert_eq!(train.images[..], squares(&[1, 3, 4, 5, 6, 8, 10, 11, 12, 13]));
    assert_eq!(test.labels[..], [0, 0, 1]);
    assert_eq!(test.images[..], squares(&[2, 7, 9]));
}

#[test]
fn a_folder_for_the_test_is_taken_whole_and_leaves_training_whole() {
    let folder = pictures("train");
    for (class, side) in [("a", 14), ("b", 15)] {
        let place = folder.path().join("test").join(class);
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("x.png"), square(side).to_png()).unwrap();
    }
    fs::write(folder.path().join("train/.DS_Store"), "hidden").unwrap();
    fs::write(folder.path().join("train/a/.hidden"), "hidden").unwrap();
    assert_eq!(opened(folder.path(), Split::Train).images.len(), 13);
    assert_eq!(opened(folder.path(), Split::Test).images[..], squares(&[14, 15]));

    fs::create_dir(folder.path().join("test/c")).unwrap();
    let text = refusal(folder.path());
    let expected = "expected the classes of `train`, a, b, found a, b, c: with c besides";
    assert!(text.ends_with(expected), "{text}");
}

#[test]
fn a_class_is_the_same_in_whatever_unicode_form_its_folder_is_named() {
    let folder = pictures("train");
    fs::rename(folder.path().join("train/b"), folder.path().join("train/e\u{301}")).unwrap();
    for (class, side) in [("a", 14), ("\u{e9}", 15)] {
        let place = folder.path().join("test").join(class);
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("x.png"), square(side).to_png()).unwrap();
    }
    let (train, test) = (opened(folder.path(), Split::Train), opened(folder.path(), Split::Test));
    assert_eq!(
        (&*train.classes, &*test.classes),
        (&["a", "\u{e9}"].map(String::from)[..], &*train.classes)
    );
    assert_eq!((train.images.len(), test.images.len()), (13, 2));

    fs::create_dir(folder.path().join("train/\u{e9}")).unwrap();
    assert!(
        refusal(folder.path()).ends_with("a name of its own for each class, found \u{e9} twice")
    );
}

#[test]
fn bad_pictures_are_named_with_what_is_wrong() {
    let plain = Image::new([0; Image::PIXELS]).to_png();
    let half = &square(20).to_png()[..60];
    for (content, text) in [
        (&b"no picture"[..], "cannot take the picture "),
        (half, "cannot take the picture "),
        (&plain, "expected something that stands out from its ground, found a plain picture"),
    ] {
        let folder = pictures("train");
        let bad = folder.path().join("train/b/00.png");
        fs::write(&bad, content).unwrap();
        let found = refusal(folder.path());
        assert!(found.contains(text) && found.contains(&*bad.to_string_lossy()), "{found}");
    }
    let folder = pictures("train");
    fs::create_dir(folder.path().join("train/a/deeper")).unwrap();
    assert!(refusal(folder.path()).ends_with("train/a/deeper: expected a picture, found a folder"));
}

#[test]
fn an_empty_class_and_a_single_one_are_refused_by_their_folder() {
    let folder = pictures("train");
    let empty = folder.path().join("train/c");
    fs::create_dir(&empty).unwrap();
    let text = refusal(folder.path());
    assert_eq!(text, format!("{}: expected 2 pictures or more, found 0", empty.display()));

    fs::remove_dir(&empty).unwrap();
    fs::remove_dir_all(folder.path().join("train/a")).unwrap();
    assert!(refusal(folder.path()).ends_with("train: expected 2 to 256 classes, found 1"));
}

#[test]
fn idx_files_take_their_names_from_labels_txt() {
    let folder = folder("", &images_file(3), &labels_file(&[11, 0, 5]));
    let open = || SearchPath::folder(folder.path()).open(Split::Test);
    let text = open().unwrap_err().to_string();
    assert!(text.contains("expected classes below 10, found 11 at index 0"), "{text}");

    let names: Vec<String> = (0..12).map(|class| format!("class {class}")).collect();
    let text = format!("\u{feff}{}\r\n", names.join("\r\n"));
    fs::write(folder.path().join("labels.txt"), text).unwrap();
    let data = open().unwrap();
    assert_eq!((&*data.classes, &data.labels[..]), (&*names, &[11, 0, 5][..]));

    fs::write(folder.path().join("labels.txt"), b"\xff\xfea\0\n\0b\0").unwrap();
    let error = open().unwrap_err().to_string();
    assert!(
        error.ends_with("labels.txt: expected text in UTF-8, found UTF-16, by its mark"),
        "{error}"
    );

    for (text, wrong) in [
        ("only", "labels.txt: expected 2 to 256 classes, found 1"),
        ("a\n\nb", "labels.txt: expected a name for each class, found none for class 1"),
        ("a\nb\na", "labels.txt: expected a name of its own for each class, found a twice"),
    ] {
        fs::write(folder.path().join("labels.txt"), text).unwrap();
        let found = open().unwrap_err().to_string();
        assert!(found.ends_with(wrong), "{found}");
    }
}
