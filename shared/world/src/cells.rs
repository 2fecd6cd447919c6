//! What a picture shows at each cell of a grid laid over it: labels for whoever learns to see.
//!
//! An answer says one word about a picture. A label at every cell says everything, so an encoder that learns from labels
//! needs far fewer pictures than one that learns from answers alone.

use crate::{Colour, Object, Scene, Shape};

/// What one cell shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cell {
    /// The object whose bounding box holds the cell's centre: its shape and its colour. The box, not the outline: whoever
    /// knows it at the edge of a star has seen the star.
    pub object: Option<(Shape, Colour)>,
    /// What is behind.
    pub background: Colour,
}

impl Scene {
    /// The cells of a grid of `side` × `side`, in raster order.
    #[must_use]
    pub fn cells(&self, side: usize) -> Vec<Cell> {
        let centre = |at: usize| (at as f32 + 0.5) / side as f32;
        let cell = |at: usize| {
            let (x, y) = (centre(at % side), centre(at / side));
            let holds = |object: &&Object| {
                let [left, top, right, bottom] = object.bounds();
                left <= x && x < right && top <= y && y < bottom
            };
            let object = self.objects.iter().find(holds).map(|object| (object.shape, object.colour));
            Cell { object, background: self.background.colour }
        };
        (0..side * side).map(cell).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Background, Texture};

    #[test]
    fn cells_show_the_object_whose_box_holds_their_centre() {
        let star =
            Object { shape: Shape::Star, colour: Colour::Red, texture: Texture::Plain, centre: (0.25, 0.5), side: 0.5 };
        let scene = Scene { background: Background { colour: Colour::Blue, ..Background::WHITE }, objects: vec![star] };
        let cells = scene.cells(4);
        let there = [4, 5, 8, 9];
        for (at, cell) in cells.iter().enumerate() {
            assert_eq!(cell.background, Colour::Blue);
            assert_eq!(cell.object, there.contains(&at).then_some((Shape::Star, Colour::Red)), "cell {at}");
        }
        assert_eq!(cells.len(), 16);
    }
}
