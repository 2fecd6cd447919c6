//! What a file of rows gives.

use std::path::Path;

use unipic_imaging::{Format, Rgb8, encode};
use unipic_models::prompt::Role;

use super::rows::Rows;
use super::*;

/// So many captions "0", "1", … over pictures twice as wide as high; those of `broken` are none.
fn captions(folder: &Path, n: usize, broken: &[usize]) -> Rows {
    let mut lines = String::new();
    for number in 0..n {
        let picture = Rgb8::filled(8, 4, [number as u8; 3]);
        let bytes = encode(&picture, Format::Png, &[]).unwrap();
        let bytes = if broken.contains(&number) { &bytes[..40] } else { &bytes };
        std::fs::write(folder.join(format!("{number}.png")), bytes).unwrap();
        lines += &format!("{{\"image\": \"{number}.png\", \"caption\": \"{number}\"}}\n");
    }
    let path = folder.join("rows.jsonl");
    std::fs::write(&path, lines).unwrap();
    Rows::read(&path, (1, 2)).unwrap()
}

fn words(rows: &Rows, slot: u64) -> String {
    let sample = rows.generation(rows.position(Kind::Generation, slot), 4).unwrap();
    assert_eq!(sample.picture.data[0].to_string(), sample.words, "a picture has its own words");
    assert_eq!(sample.line.unwrap().to_string(), (sample.words.parse::<usize>().unwrap() + 1).to_string());
    sample.words
}

#[test]
fn an_epoch_takes_every_row_once_and_the_next_in_another_order() {
    let folder = tempfile::tempdir().unwrap();
    let rows = captions(folder.path(), 9, &[]);
    let epoch = |number: u64| (9 * number..9 * (number + 1)).map(|slot| words(&rows, slot)).collect::<Vec<_>>();
    for number in 0..3 {
        let mut sorted = epoch(number);
        sorted.sort();
        assert_eq!(sorted, (0..9).map(|n| n.to_string()).collect::<Vec<_>>());
    }
    assert_ne!(epoch(0), epoch(1));
}

#[test]
fn a_broken_picture_leaves_its_slot_to_the_next_row_whenever_it_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let forwards = captions(folder.path(), 9, &[2, 3, 8]);
    let ahead: Vec<String> = (0..27).map(|slot| words(&forwards, slot)).collect();
    let backwards = captions(folder.path(), 9, &[2, 3, 8]);
    let back: Vec<String> = (0..27).rev().map(|slot| words(&backwards, slot)).collect();
    assert!(ahead.iter().eq(back.iter().rev()));
    let count = |word: &str| ahead.iter().filter(|seen| *seen == word).count();
    assert_eq!((count("2"), count("3"), count("8"), count("4"), count("0"), count("7")), (0, 0, 0, 9, 6, 3));
    let bad: Vec<_> = forwards.bad().into_iter().map(|row| (row.stage, row.line, row.reason.name())).collect();
    assert_eq!(bad, [(2, 3, "undecodable"), (2, 4, "undecodable"), (2, 9, "undecodable")]);
    assert_eq!(forwards.bad_counts()["undecodable"], 3);
}

#[test]
fn a_picture_that_vanishes_stops_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let rows = captions(folder.path(), 1, &[]);
    std::fs::remove_file(folder.path().join("0.png")).unwrap();
    let error = rows.generation(0, 4).err().unwrap().to_string();
    assert!(error.contains("0.png"), "{error}");
}

#[test]
fn pictures_to_understand_are_padded_and_others_cut() {
    let folder = tempfile::tempdir().unwrap();
    let rows = captions(folder.path(), 1, &[]);
    let asked = rows.understanding(0, 8).unwrap();
    assert_eq!((asked.said, asked.answer), (vec![(Role::User, unipic_world::DESCRIBE.to_owned())], "0".to_owned()));
    let row = |y: usize| asked.picture.data[y * 24];
    assert_eq!((asked.picture.width, asked.picture.height, row(0), row(4), row(7)), (8, 8, 127, 0, 127));
    let cut = rows.picture(0, 8).unwrap();
    assert!(cut.data.len() == 192 && cut.data.iter().all(|value| *value == 0));
}
