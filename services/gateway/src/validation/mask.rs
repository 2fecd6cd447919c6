//! Where an edit redraws its source.

use unipic_api::{ApiError, pb};
use unipic_imaging::{Mask, MaskConvention, Rgb8};

use super::Violations;
use crate::pictures::{Marked, Pictures, Source};

/// How far a seam may be blended, in pixels of the result.
pub(crate) const MAX_FEATHER: u32 = 256;

/// Judges a mask, against its source where that could be read.
pub(super) async fn mask(
    violations: &mut Violations,
    mask: pb::Mask,
    source: Option<&Rgb8>,
    pictures: &Pictures,
) -> Result<Option<Marked>, ApiError> {
    let convention = convention(violations, mask.convention);
    if mask.feather > MAX_FEATHER {
        let feather = mask.feather;
        violations.add("mask.feather", format!("must be between 0 and {MAX_FEATHER} pixels, not {feather}"));
    }
    let decoded = pictures.decode_mask(mask.image, convention).await?;
    let problem = match &decoded {
        Err(error) => Some(format!("cannot be used as a mask: {error}")),
        Ok(marks) if marks.is_empty() => Some(format!("marks no pixel: {}", meaning(convention))),
        Ok(marks) => source.and_then(|source| other_size(marks, source)),
    };
    if let Some(problem) = problem {
        violations.add("mask.image", problem);
        return Ok(None);
    }
    Ok(decoded.ok().map(|marks| Marked { mask: marks, feather: mask.feather }))
}

/// Refuses a mask that marks nothing of the part of the source that is used.
pub(super) fn check_kept(source: &Source) -> Result<(), ApiError> {
    if source.redraw.as_ref().is_none_or(|redraw| !redraw.places.is_empty()) {
        return Ok(());
    }
    let pb::CropBox { x, y, width, height, .. } = source.crop;
    let problem = format!(
        "marks only pixels that are cropped away: of the source the {width}x{height} pixels from {x},{y} on are used; mark \
         some of those, or ask for a size of the source's aspect"
    );
    Err(ApiError::invalid("mask.image", problem))
}

fn convention(violations: &mut Violations, value: i32) -> MaskConvention {
    match violations.choice("mask.convention", value, pb::MaskConvention::White) {
        pb::MaskConvention::Transparent => MaskConvention::Transparent,
        pb::MaskConvention::White | pb::MaskConvention::Unspecified => MaskConvention::White,
    }
}

/// What a mask has to look like.
fn meaning(convention: MaskConvention) -> &'static str {
    match convention {
        MaskConvention::White => "what is to be redrawn must be white, the rest black",
        MaskConvention::Transparent => "what is to be redrawn must be transparent, the rest opaque",
    }
}

fn other_size(mask: &Mask, source: &Rgb8) -> Option<String> {
    let [of_mask, of_source] = [(mask.width(), mask.height()), (source.width, source.height)];
    (of_mask != of_source).then(|| {
        let [mask, source] = [of_mask, of_source].map(|(width, height)| format!("{width}x{height}"));
        format!("must have the size of the image: the mask is {mask} pixels, the image {source}")
    })
}
