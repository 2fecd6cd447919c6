//! Questions, captions, edits and corrupted prompts say what is so.

use std::collections::HashMap;

use unipic_world::{
    Difficulty, EditKind, QuestionKind, Sampler, Shape, Split, Texture, names_all, verification_question,
};

fn sampler(split: Split) -> Sampler {
    Sampler::new(11, Difficulty::full(), split)
}

#[test]
fn answers_are_short_balanced_and_of_their_kind() {
    let mut answers: HashMap<(QuestionKind, String), usize> = HashMap::new();
    for index in 0..9000 {
        let sample = sampler(Split::Train).question(index);
        assert!(sample.scene.is_sound(), "{sample:?}");
        assert!(sample.answer.split(' ').count() <= 2, "{sample:?}");
        *answers.entry((sample.kind, sample.answer)).or_default() += 1;
    }
    for kind in [QuestionKind::Presence, QuestionKind::Relation, QuestionKind::Verification] {
        let count = |word: &str| answers.get(&(kind, word.to_owned())).copied().unwrap_or(0) as f64;
        let share = count("yes") / (count("yes") + count("no"));
        assert!((0.4..0.6).contains(&share), "{kind:?}: {share}");
    }
    let n_answers = |kind| answers.keys().filter(|(of, _)| *of == kind).count();
    assert_eq!(n_answers(QuestionKind::Colour), 11);
    assert_eq!(n_answers(QuestionKind::Shape), 6);
    assert_eq!(n_answers(QuestionKind::CountOf), 5);
    assert_eq!(n_answers(QuestionKind::Where), 5);
    assert_eq!(n_answers(QuestionKind::Background), 11);
}

#[test]
fn colour_questions_are_true() {
    for index in 0..500 {
        let sample = sampler(Split::Train).question_in(QuestionKind::Colour, index);
        let shape = Shape::ALL.iter().find(|shape| sample.question.contains(shape.word())).unwrap();
        let object = sample.scene.objects.iter().find(|object| object.shape == *shape).unwrap();
        assert_eq!(object.colour.word(), sample.answer);
    }
    assert_eq!(verification_question("a star"), "Does this figure show a star?");
}

#[test]
fn captions_name_every_object() {
    for index in 0..3000 {
        let sample = sampler(Split::Train).caption(index);
        assert!(names_all(&sample.caption, &sample.scene), "{}", sample.caption);
        let mut other = sample.scene.clone();
        other.objects[0].shape = Shape::ALL[(other.objects[0].shape as usize + 1) % 6];
        if sample.scene.objects.len() == 1 {
            assert!(!names_all(&sample.caption, &other), "{}", sample.caption);
        }
    }
}

/// The order of a scene's objects cannot be seen, so nothing that is to be learnt may depend on it.
#[test]
fn a_caption_is_of_the_picture_alone() {
    for difficulty in [Difficulty::nano(), Difficulty::full()] {
        for index in 0..1000 {
            let mut scene = Sampler::new(11, difficulty.clone(), Split::Train).caption(index).scene;
            let caption = scene.caption();
            scene.objects.reverse();
            assert_eq!(scene.caption(), caption);
        }
    }
}

#[test]
fn captions_are_read_in_other_words() {
    let sample = (0..).map(|index| sampler(Split::Train).caption(index)).find(|s| s.scene.objects.len() == 1).unwrap();
    let object = sample.scene.objects[0];
    for words in ["The {s} is {c}.", "there is one {c} {s} here", "A big {c} {t} {s}", "a {s} in {c}"] {
        let caption = words.replace("{s}", object.shape.word()).replace("{c}", object.colour.word());
        assert!(names_all(&caption.replace("{t}", "dotted"), &sample.scene), "{caption}");
    }
    assert!(!names_all("a picture", &sample.scene));
    assert!(!names_all("", &sample.scene));
}

#[test]
fn edits_change_what_they_say_and_nothing_else() {
    for split in [Split::Train, Split::HeldOut] {
        for index in 0..4000 {
            let sample = sampler(split).edit(index);
            assert_eq!(sample.combination.is_held_out(), split == Split::HeldOut);
            assert!(sample.before.is_sound() && sample.after.is_sound(), "{sample:?}");
            assert!(sample.claim_after.fits(&sample.after), "{sample:?}");
            assert!(!sample.claim_after.fits(&sample.before), "{sample:?}");
            let kept = sample.before.objects.iter().filter(|object| sample.after.objects.contains(object)).count();
            let n = sample.before.objects.len();
            let wanted = if matches!(sample.kind, EditKind::Background | EditKind::Add) { n } else { n - 1 };
            assert_eq!(kept, wanted, "{sample:?}");
        }
    }
}

#[test]
fn easy_edits_have_no_textures() {
    let sampler = Sampler::new(2, Difficulty::easy(), Split::Train);
    for index in 0..1000 {
        let sample = sampler.edit(index);
        assert!(sample.after.objects.iter().all(|object| object.texture == Texture::Plain), "{sample:?}");
    }
}

#[test]
fn corruption_is_flagged_and_in_its_share() {
    let mut n_corrupted = 0;
    for index in 0..3000 {
        let sample = sampler(Split::Train).corrupted(index, 0.3);
        assert_eq!(sample.sample.claim.fits(&sample.sample.scene), !sample.corrupted, "{sample:?}");
        n_corrupted += usize::from(sample.corrupted);
    }
    assert!((800..1000).contains(&n_corrupted), "{n_corrupted}");
}

/// Not a check: a page of samples to read (`cargo test -p unipic-world --test language -- --nocapture show`).
#[test]
fn show_some() {
    let sampler = sampler(Split::Train);
    for index in 0..16 {
        let (question, edit) = (sampler.question(index), sampler.edit(index));
        println!("{:<60} | {}", sampler.generation(index).prompt, sampler.caption(index).caption);
        println!("    {} -> {} | {}", question.question, question.answer, edit.instruction);
    }
}
