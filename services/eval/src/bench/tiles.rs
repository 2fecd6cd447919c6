//! Several images as one.

use unipic_imaging::{DecodeLimits, Format, Rgb8, decode, encode};

use crate::EvalError;

/// PNG files side by side, `columns` in a row, in the order of reading; every cell is as large as the first image, and
/// cells without an image are black.
///
/// # Errors
/// When a file is no image, or not of the first one's size.
pub(crate) fn tile(files: &[Vec<u8>], columns: u32, rows: u32) -> Result<Vec<u8>, EvalError> {
    let images = files.iter().map(|file| decode(file, &DecodeLimits::default())).collect::<Result<Vec<Rgb8>, _>>()?;
    let Some(first) = images.first() else {
        return Err(EvalError::Defect("a grid of no images".to_owned()));
    };
    let (width, height) = (first.width as usize * 3, first.height as usize);
    let mut grid = Rgb8::filled(first.width * columns, first.height * rows, [0; 3]);
    let stride = width * columns as usize;
    for (at, image) in images.iter().enumerate() {
        if (image.width, image.height) != (first.width, first.height) {
            let problem = format!("{image:?} beside {first:?} in one grid");
            return Err(EvalError::Defect(problem));
        }
        let (column, row) = (at % columns as usize, at / columns as usize);
        let lines = grid.data.chunks_exact_mut(stride).skip(row * height);
        for (to, from) in lines.zip(image.data.chunks_exact(width)) {
            to[column * width..(column + 1) * width].copy_from_slice(from);
        }
    }
    Ok(encode(&grid, Format::Png, &[])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_laid_in_reading_order() {
        let colours = [[1, 0, 0], [2, 0, 0], [3, 0, 0]];
        let files: Vec<_> =
            colours.iter().map(|c| encode(&Rgb8::filled(2, 1, *c), Format::Png, &[]).unwrap()).collect();
        let grid = decode(&tile(&files, 2, 2).unwrap(), &DecodeLimits::default()).unwrap();
        assert_eq!((grid.width, grid.height), (4, 2));
        let reds: Vec<u8> = grid.data.iter().step_by(3).copied().collect();
        assert_eq!(reds, [1, 1, 2, 2, 3, 3, 0, 0]);
    }

    #[test]
    fn unequal_images_are_refused() {
        let files: Vec<_> =
            [1, 2].iter().map(|w| encode(&Rgb8::filled(*w, 1, [0; 3]), Format::Png, &[]).unwrap()).collect();
        assert!(tile(&files, 2, 1).is_err());
        assert!(tile(&[], 2, 1).is_err());
        assert!(tile(&[vec![1, 2, 3]], 1, 1).is_err());
    }
}
