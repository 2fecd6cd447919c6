//! The judge is right about drawn pictures, clean and damaged, and about what they do not show.

use std::collections::BTreeMap;

use unipic_imaging::Rgb8;
use unipic_world::{
    Category, Claim, Colour, Difficulty, Draws, EditKind, GenerationSample, Relation, Sampler, Scene, Shape, Split,
    Wanted, judge, judge_edit, see,
};

const N: u64 = 1200;
const SIDE: usize = 128;

fn samples(difficulty: Difficulty) -> Vec<GenerationSample> {
    let sampler = Sampler::new(23, difficulty, Split::Train);
    (0..N).map(|index| sampler.generation_in(Category::ALL[index as usize % 6], index)).collect()
}

fn untextured() -> Difficulty {
    Difficulty { textured_share: 0.0, ..Difficulty::full() }
}

/// Blur by a (2 · reach + 1)² box, then normal noise of a standard deviation in grey levels.
fn damaged(image: &Rgb8, reach: i64, deviation: f32, seed: u64) -> Rgb8 {
    let (width, height) = (i64::from(image.width), i64::from(image.height));
    let mut draws = Draws::new(seed, 0, 0);
    let mut data = Vec::with_capacity(image.data.len());
    for at in 0..image.data.len() as i64 {
        let (x, y, channel) = (at / 3 % width, at / 3 / width, at % 3);
        let (mut sum, mut n) = (0f32, 0f32);
        for (dx, dy) in (-reach..=reach).flat_map(|dx| (-reach..=reach).map(move |dy| (dx, dy))) {
            let (x, y) = ((x + dx).clamp(0, width - 1), (y + dy).clamp(0, height - 1));
            sum += f32::from(image.data[((y * width + x) * 3 + channel) as usize]);
            n += 1.0;
        }
        // Twelve uniform draws have variance 1 and are normal enough.
        let quarters = |bits: u64| (0..4).map(move |part| (bits >> (16 * part) & 0xFFFF) as f32 / 65536.0);
        let noise: f32 = (0..3).flat_map(|_| quarters(draws.bits())).sum::<f32>() - 6.0;
        data.push((sum / n + noise * deviation).round().clamp(0.0, 255.0) as u8);
    }
    Rgb8 { data, ..*image }
}

/// Share of samples judged right; prints what went wrong.
fn share_right(name: &str, samples: &[GenerationSample], picture: impl Fn(&Scene, u64) -> Rgb8) -> f64 {
    let start = std::time::Instant::now();
    let (mut right, mut wrong) = (0, BTreeMap::<String, usize>::new());
    for (index, sample) in samples.iter().enumerate() {
        let verdict = judge(&picture(&sample.scene, index as u64), &sample.claim);
        right += usize::from(verdict.right);
        if !verdict.right {
            let reason = format!("{:?}: {}", sample.category, verdict.reasons[0]);
            *wrong.entry(reason).or_default() += 1;
            println!("{name}: {} | {:?}", sample.prompt, verdict.reasons);
        }
    }
    let share = right as f64 / samples.len() as f64;
    println!("{name}: {share:.4} right in {:?}; {wrong:?}", start.elapsed());
    share
}

#[test]
fn clean_pictures_are_right() {
    let plain = share_right("untextured", &samples(untextured()), |scene, _| scene.draw(SIDE));
    let full = share_right("full", &samples(Difficulty::full()), |scene, _| scene.draw(SIDE));
    assert!(plain >= 0.99 && full >= 0.97, "{plain} {full}");
}

#[test]
fn damaged_pictures_are_right() {
    let damage = |scene: &Scene, index| damaged(&scene.draw(SIDE), 1, 12.0, index);
    let plain = share_right("untextured, damaged", &samples(untextured()), damage);
    let full = share_right("full, damaged", &samples(Difficulty::full()), damage);
    assert!(plain >= 0.99 && full >= 0.97, "{plain} {full}");
}

#[test]
fn strongly_blurred_easy_pictures_are_mostly_right() {
    let damage = |scene: &Scene, index| damaged(&scene.draw(SIDE), 2, 12.0, index);
    let share = share_right("easy, strongly blurred", &samples(Difficulty::easy())[..600], damage);
    assert!(share >= 0.95, "{share}");
}

#[test]
fn other_sizes_are_right() {
    for side in [64, 100, 512] {
        let samples = &samples(untextured())[..120];
        let share = share_right(&format!("side {side}"), samples, |scene, _| scene.draw(side));
        assert!(share >= 0.97, "{side}: {share}");
    }
}

#[test]
fn wrong_prompts_are_wrong() {
    for difficulty in [untextured(), Difficulty::full()] {
        let (mut n, mut fooled) = (0, 0);
        for (index, sample) in samples(difficulty).iter().enumerate().skip(600) {
            let mut draws = Draws::new(77, 0, index as u64);
            let Some(claim) = sample.claim.near_miss(&sample.scene, &mut draws) else { continue };
            let verdict = judge(&damaged(&sample.scene.draw(SIDE), 1, 12.0, index as u64), &claim);
            n += 1;
            fooled += usize::from(verdict.right);
            if verdict.right {
                println!("taken for {}: {}", claim.text(), sample.prompt);
            }
        }
        println!("{fooled} of {n} near misses judged right");
        assert!(n > 500 && fooled as f64 / n as f64 <= 0.03, "{fooled} of {n}");
    }
}

#[test]
fn drawn_edits_are_right_and_untouched() {
    let sampler = Sampler::new(5, Difficulty::full(), Split::Train);
    let (mut n_right, mut n_kept) = (0, 0);
    for index in 0..400 {
        let sample = sampler.edit(index);
        let (before, after) = (sample.before.draw(SIDE), sample.after.draw(SIDE));
        let verdict = judge_edit(&before, &after, &sample);
        n_right += usize::from(verdict.right);
        if !verdict.right {
            println!("{}: {:?}", sample.instruction, verdict.reasons);
        }
        assert!(verdict.untouched_mean_error < 0.01, "{}: {}", sample.instruction, verdict.untouched_mean_error);
        let unchanged = judge_edit(&before, &before, &sample);
        n_kept += usize::from(unchanged.right);
        if unchanged.right {
            println!("unchanged, taken for {}: {} | {}", sample.instruction, unchanged.seen, sample.before.caption());
        }
        if sample.kind != EditKind::Background {
            let ruined = judge_edit(&before, &damaged(&after, 0, 30.0, index), &sample);
            assert!(ruined.untouched_mean_error > 5.0, "{}", ruined.untouched_mean_error);
        }
    }
    println!("edits: {n_right} of 400 right, {n_kept} unchanged pictures taken for edited");
    assert!(n_right >= 388 && n_kept <= 8, "{n_right} {n_kept}");
}

/// The judge knows shapes, not just blobs: what is none of the six is not taken for one.
#[test]
fn other_shapes_are_no_shapes() {
    let drawn = |inside: fn(f32, f32) -> bool| {
        let mut image = Rgb8::filled(128, 128, [255, 255, 255]);
        for (at, pixel) in image.data.chunks_exact_mut(3).enumerate() {
            let (x, y) = ((at % 128) as f32 - 63.5, (at / 128) as f32 - 63.5);
            if inside(x, y) {
                pixel.copy_from_slice(&[40, 80, 220]);
            }
        }
        see(&image).objects
    };
    let bar = drawn(|x, y| x.abs() < 40.0 && y.abs() < 14.0);
    let ring = drawn(|x, y| (22.0..30.0).contains(&x.hypot(y)));
    let corner = drawn(|x, y| x.abs() < 30.0 && y.abs() < 30.0 && (x < -14.0 || y > 14.0));
    let crescent = drawn(|x, y| x.hypot(y) < 30.0 && (x - 16.0).hypot(y) > 24.0);
    for (name, objects) in [("bar", bar), ("ring", ring), ("corner", corner), ("crescent", crescent)] {
        assert!(objects.len() == 1 && objects[0].shape.is_none(), "{name}: {objects:?}");
        assert_eq!(objects[0].colour, Some(Colour::Blue));
    }
    let square = drawn(|x, y| x.abs() < 30.0 && y.abs() < 30.0);
    assert_eq!(square[0].shape, Some(Shape::Square));
}

#[test]
fn touching_objects_of_two_colours_are_two() {
    let mut image = Rgb8::filled(128, 128, [255, 255, 255]);
    for (at, pixel) in image.data.chunks_exact_mut(3).enumerate() {
        let (x, y) = ((at % 128) as f32, (at / 128) as f32);
        if (24.0..64.0).contains(&x) && (40.0..80.0).contains(&y) {
            pixel.copy_from_slice(&[220, 40, 40]);
        } else if (x - 84.0).hypot(y - 60.0) < 20.0 {
            pixel.copy_from_slice(&[40, 160, 60]);
        }
    }
    let claim = Claim {
        wanted: vec![
            Wanted { colour: Some(Colour::Red), ..Wanted::one(Shape::Square) },
            Wanted { colour: Some(Colour::Green), ..Wanted::one(Shape::Circle) },
        ],
        relation: Some(Relation::LeftOf),
        background: None,
    };
    let verdict = judge(&damaged(&image, 1, 6.0, 1), &claim);
    assert!(verdict.right, "{:?}", verdict.reasons);
}

#[test]
fn strange_pictures_are_seen_as_nothing_much() {
    let grey = Rgb8::filled(128, 128, [128, 128, 128]);
    assert!(see(&grey).objects.is_empty());
    let claim = Claim { wanted: Vec::new(), relation: None, background: None };
    assert!(judge(&grey, &claim).right);
    let noise = damaged(&grey, 0, 200.0, 3);
    assert!(!judge(&noise, &samples(untextured())[0].claim).right);
    for (width, height) in [(1, 1), (3, 200), (200, 3), (2, 2)] {
        let _ = see(&Rgb8::filled(width, height, [10, 200, 30]));
    }
    let before = Sampler::new(5, Difficulty::full(), Split::Train).edit(0);
    let verdict = judge_edit(&grey, &Rgb8::filled(64, 64, [0, 0, 0]), &before);
    assert!(!verdict.right && verdict.untouched_mean_error == 255.0);
}
