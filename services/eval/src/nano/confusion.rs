//! What was seen where something else was wanted.

use std::collections::BTreeMap;

use serde::Serialize;
use unipic_world::{Relation, SeenObject, Thing, Wanted};

use super::Item;

/// How often what was seen instead of what: `[wanted][seen]`.
pub type Table = BTreeMap<String, BTreeMap<String, usize>>;

/// Confusions over all pictures that were wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Confusions {
    /// Numbers of objects.
    pub count: Table,
    /// Shapes.
    pub shape: Table,
    /// Colours.
    pub colour: Table,
    /// Textures.
    pub texture: Table,
    /// How the first object stands to the second.
    pub relation: Table,
}

impl Confusions {
    /// Counts them. Attributes are compared only where the number of objects is right, each wanted thing with the seen
    /// one that fits it best.
    pub(crate) fn of<'a>(items: impl Iterator<Item = &'a Item>) -> Self {
        let mut found = Self::default();
        for item in items.filter(|item| !item.right) {
            let (Some(claim), Some(seen)) = (&item.claim, &item.seen) else { continue };
            let wanted: Vec<&Wanted> = claim.wanted.iter().flat_map(|w| std::iter::repeat_n(w, w.count)).collect();
            if wanted.len() != seen.objects.len() {
                add(&mut found.count, wanted.len().to_string(), seen.objects.len().to_string());
                continue;
            }
            let pairs = pair(&wanted, &seen.objects);
            for (wanted, object) in &pairs {
                found.compare(wanted, object);
            }
            if let (Some(relation), [(_, first), (_, second)]) = (claim.relation, pairs.as_slice())
                && !relation.holds(first.centre, second.centre)
            {
                let holds = |r: &&Relation| r.holds(first.centre, second.centre);
                let seen = Relation::ALL.iter().find(holds).map_or("askew", |relation| relation.word());
                add(&mut found.relation, relation.word().to_owned(), seen.to_owned());
            }
        }
        found
    }

    fn compare(&mut self, wanted: &Wanted, seen: &SeenObject) {
        if seen.shape != Some(wanted.shape) {
            let seen = seen.shape.map_or("none", |shape| shape.word());
            add(&mut self.shape, wanted.shape.word().to_owned(), seen.to_owned());
        }
        if let Some(colour) = wanted.colour.filter(|_| seen.colour != wanted.colour) {
            let seen = seen.colour.map_or("none", |colour| colour.word());
            add(&mut self.colour, colour.word().to_owned(), seen.to_owned());
        }
        if let Some(texture) = wanted.texture.filter(|_| seen.texture != wanted.texture) {
            let seen = seen.texture.map_or("none", |texture| texture.word());
            add(&mut self.texture, texture.word().to_owned(), seen.to_owned());
        }
    }

    /// The tables that are not empty, by name.
    pub(crate) fn tables(&self) -> Vec<(&'static str, &Table)> {
        let all = [
            ("number", &self.count),
            ("shape", &self.shape),
            ("colour", &self.colour),
            ("texture", &self.texture),
            ("relation", &self.relation),
        ];
        all.into_iter().filter(|(_, table)| !table.is_empty()).collect()
    }
}

fn add(table: &mut Table, wanted: String, seen: String) {
    *table.entry(wanted).or_default().entry(seen).or_default() += 1;
}

/// Gives each wanted thing a seen one: the best fitting pairs first.
fn pair<'a>(wanted: &[&'a Wanted], seen: &'a [SeenObject]) -> Vec<(&'a Wanted, &'a SeenObject)> {
    let mut all: Vec<(usize, usize, usize)> = Vec::new();
    for (w, want) in wanted.iter().enumerate() {
        all.extend(seen.iter().enumerate().map(|(s, object)| (fit(want, object), w, s)));
    }
    // A stable sort: equal fits keep the order of the prompt.
    all.sort_by_key(|(fit, ..)| std::cmp::Reverse(*fit));
    let mut given: Vec<Option<usize>> = vec![None; wanted.len()];
    for (_, w, s) in all {
        if given[w].is_none() && !given.contains(&Some(s)) {
            given[w] = Some(s);
        }
    }
    wanted.iter().zip(given).filter_map(|(want, s)| Some((*want, seen.get(s?)?))).collect()
}

/// How well a seen thing fits a wanted one: wholly, then by shape, then by colour.
fn fit(wanted: &Wanted, seen: &SeenObject) -> usize {
    let whole = wanted.is_met_by(&Thing::from(seen));
    let shape = seen.shape == Some(wanted.shape);
    let colour = wanted.colour.is_some() && seen.colour == wanted.colour;
    4 * usize::from(whole) + 2 * usize::from(shape) + usize::from(colour)
}
