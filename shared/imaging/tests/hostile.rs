//! Hundreds of broken, lying and odd image files: no panic, a typed error or the stated rule, and bounded memory.

#![allow(clippy::expect_used, clippy::panic)]

#[path = "hostile/crafted.rs"]
mod crafted;
#[path = "hostile/seeds.rs"]
mod seeds;

use std::collections::BTreeSet;
use std::sync::Mutex;

use unipic_imaging::{DecodeLimits, ImageError, decode};
use unipic_measures::measured;

const LIMITS: DecodeLimits = DecodeLimits { max_bytes: 4 << 20, max_pixels: 16_000_000, max_alloc_bytes: 64 << 20 };

/// Memory is measured for the whole process, so the tests of this file take turns.
static TURN: Mutex<()> = Mutex::new(());

/// Peak resident memory of this process in KiB since the last `reset_peak`.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
}

fn reset_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// A small generator of our own: the files must be the same on every machine.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// A file of the corpus.
struct Hostile {
    /// What it is, or was before it was damaged.
    kind: String,
    /// With how it was damaged.
    name: String,
    file: Vec<u8>,
}

/// Every seed file cut off in twelve places and with bits flipped in thirty ways, bombs, and all lying files.
fn corpus() -> Vec<Hostile> {
    let whole = |(name, file): (String, Vec<u8>)| Hostile { kind: name.clone(), name, file };
    let mut files: Vec<_> = crafted::bombs().into_iter().map(|(name, file)| whole((name.to_owned(), file))).collect();
    files.extend(crafted::liars().into_iter().map(|(name, file)| Hostile { kind: "a lie".to_owned(), name, file }));
    let mut random = Lcg(7);
    for (kind, file) in seeds::valid() {
        let mut damaged = |how: String, file: Vec<u8>| {
            files.push(Hostile { kind: kind.to_owned(), name: format!("{kind} {how}"), file });
        };
        for cut in 0..12 {
            damaged(format!("cut {cut}/12"), file[..file.len() * cut / 12].to_vec());
        }
        for round in 0..30 {
            let mut broken = file.clone();
            for _ in 0..=round % 5 {
                // Half of the damage goes to the headers, where it hurts most.
                let bound = if round % 2 == 0 { file.len().min(96) } else { file.len() };
                broken[random.below(bound)] ^= 1 << random.below(8);
            }
            damaged(format!("flipped {round}"), broken);
        }
    }
    files
}

#[test]
fn no_file_panics_or_takes_more_memory_than_allowed() {
    let _turn = TURN.lock();
    let corpus = corpus();
    let (mut n_refused, mut n_panics, mut most_kib) = (0, 0, 0);
    for Hostile { name, file, .. } in &corpus {
        reset_peak();
        let before = peak_kib();
        let result = decode(file, &LIMITS);
        let grown = peak_kib().saturating_sub(before);
        most_kib = most_kib.max(grown);
        assert!(grown <= LIMITS.max_alloc_bytes >> 10, "{name}: memory grew by {grown} KiB");
        match result {
            Ok(image) => assert_eq!(image.data.len(), image.width as usize * image.height as usize * 3, "{name}"),
            Err(error) => {
                n_refused += 1;
                n_panics += usize::from(matches!(error, ImageError::CodecFault { .. }));
                assert!(!error.to_string().is_empty());
            }
        }
    }
    measured!("files", corpus.len());
    measured!("kinds", corpus.iter().map(|hostile| &hostile.kind).collect::<BTreeSet<_>>().len());
    measured!("refused", n_refused);
    measured!("decoders that panicked", n_panics);
    measured!("most memory, MiB", format!("{:.1}", most_kib as f64 / 1024.0));
    measured!("at a limit of, MiB", LIMITS.max_alloc_bytes >> 20);
    assert_eq!(n_panics, 0);
    assert!(corpus.len() >= 500, "only {} files", corpus.len());
}

#[test]
fn every_lying_file_is_refused() {
    let _turn = TURN.lock();
    let liars = crafted::liars();
    for (name, file) in &liars {
        let error = decode(file, &LIMITS).expect_err(name);
        println!("{name}: {error}");
    }
    measured!("lying files refused", liars.len());
}

#[test]
fn every_seed_decodes_and_every_half_of_one_is_refused() {
    let _turn = TURN.lock();
    for (name, file) in seeds::valid() {
        let image = decode(&file, &LIMITS).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(image.width > 0, "{name}");
        let error = decode(&file[..file.len() / 2], &LIMITS);
        assert!(error.is_err(), "{name}: half a file was accepted");
    }
}

#[test]
fn refusals_say_which_rule_was_broken() {
    let _turn = TURN.lock();
    let png = seeds::png_rgb();
    let tight = |limits: DecodeLimits| decode(&png, &limits).expect_err("beyond the limit");
    assert_eq!(decode(&[], &LIMITS), Err(ImageError::Empty));
    assert_eq!(decode(b"hello, world, this is text", &LIMITS), Err(ImageError::UnknownFormat));
    assert!(matches!(tight(DecodeLimits { max_bytes: 10, ..LIMITS }), ImageError::TooManyBytes { limit: 10, .. }));
    assert!(matches!(tight(DecodeLimits { max_pixels: 10, ..LIMITS }), ImageError::TooManyPixels { limit: 10, .. }));
    let starved = tight(DecodeLimits { max_alloc_bytes: 100, ..LIMITS });
    assert!(matches!(starved, ImageError::TooMuchMemory { limit: 100, .. }), "{starved}");
    assert!(matches!(decode(&crafted::cmyk_jpeg(false), &LIMITS), Err(ImageError::Unsupported { .. })));
}

#[test]
fn stated_rules_hold() {
    let _turn = TURN.lock();
    let rgba = |alpha| seeds::png_rgba(&[255, 0, 0, alpha]);
    let rules = [
        ("nothing of red is white", rgba(0), 0, [255, 255, 255]),
        ("half of red is pink", rgba(128), 0, [255, 127, 127]),
        ("16 bits round to 8", seeds::png_16(0x00FF), 0, [1; 3]),
        ("a palette is expanded", seeds::png_palette(), 1, [0, 0, 255]),
        // The first frame is red, the second blue.
        ("the first frame of a GIF", seeds::gif_animated(), 0, [255, 0, 0]),
        ("the first frame of a WebP", seeds::webp_animated(), 0, [255, 0, 0]),
        ("the first frame of a PNG", seeds::png_animated(), 0, [255, 0, 0]),
        // Adobe's CMYK: all inks at the middle, (1 − ½)·(1 − ½) of white.
        ("CMYK without a profile", crafted::cmyk_jpeg(true), 0, [64; 3]),
    ];
    for (rule, file, at, expected) in &rules {
        let image = decode(file, &LIMITS).expect("decodes");
        let pixel = &image.data[at * 3..at * 3 + 3];
        // A JPEG rounds.
        let slack = u8::from(*rule == "CMYK without a profile");
        assert!(pixel.iter().zip(expected).all(|(a, b)| a.abs_diff(*b) <= slack), "{rule}: {pixel:?}");
    }
    measured!("stated rules", rules.len());
}

#[test]
fn exif_rotation_is_applied_in_every_format_that_has_it() {
    let _turn = TURN.lock();
    for (name, file) in seeds::rotated() {
        let image = decode(&file, &LIMITS).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((image.width, image.height), (8, 16), "{name}");
        // The red left end of the lying picture is the top of the upright one.
        assert!(image.data[0] > 200 && image.data[2] < 60, "{name}: {:?}", &image.data[..3]);
    }
    measured!("formats turned upright", seeds::rotated().len());
}
