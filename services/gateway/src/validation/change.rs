//! Where an edit redraws its source.

use unipic_api::{ApiError, pb, record};
use unipic_imaging::{MAX_SIDE, Mask, MaskConvention, Rgb8};

use super::Violations;
use crate::pictures::{Change, Pictures, Source};

/// How far a seam may be blended, in pixels of the result.
pub(crate) const MAX_FEATHER: u32 = 256;

/// Judges mask, margins and feather, against the source where that could be read.
pub(super) async fn change(
    violations: &mut Violations,
    (mask, margins, feather): (Option<pb::Mask>, Option<pb::Margins>, u32),
    source: Option<&Rgb8>,
    pictures: &Pictures,
) -> Result<Change, ApiError> {
    let is_softened = mask.is_some() || margins.is_some();
    let asked = match is_softened {
        true => Some(asked(mask.as_ref(), margins, feather, pictures).await?),
        false => None,
    };
    let mask = match mask {
        Some(given) => marks(violations, given, source, pictures).await?,
        None => None,
    };
    let change = Change { mask, margins: margins.unwrap_or_default(), feather, asked };
    if let Some(source) = source {
        canvas(violations, &change, source, pictures.max_pixels());
    }
    if feather > MAX_FEATHER {
        violations.add("feather", format!("must be between 0 and {MAX_FEATHER} pixels, not {feather}"));
    } else if feather > 0 && !is_softened {
        violations.add("feather", "needs a mask or margins, whose seam it blends");
    }
    Ok(change)
}

/// What is asked for, as an image's record tells it.
async fn asked(
    mask: Option<&pb::Mask>,
    margins: Option<pb::Margins>,
    feather: u32,
    pictures: &Pictures,
) -> Result<record::Redraw, ApiError> {
    let mask = match mask {
        Some(mask) => {
            Some(record::Mask { sha256: pictures.sha256(mask.image.clone()).await?, marks: mask.convention().into() })
        }
        None => None,
    };
    let extend = margins.map(|margins| [margins.left, margins.top, margins.right, margins.bottom]);
    Ok(record::Redraw { mask, extend, feather })
}

/// Refuses margins that make more of an image than is taken.
fn canvas(violations: &mut Violations, change: &Change, source: &Rgb8, max_pixels: u64) {
    let (width, height) = change.canvas_size(source);
    if width.saturating_mul(height) > max_pixels || width.max(height) > u64::from(MAX_SIDE) {
        let size = format!("{}x{}", source.width, source.height);
        violations.add(
            "extend",
            format!("makes {width}x{height} pixels of the image's {size}; at most {max_pixels} in all are taken, {MAX_SIDE} on a side"),
        );
    }
}

/// Judges a mask; none where it is wrong.
async fn marks(
    violations: &mut Violations,
    mask: pb::Mask,
    source: Option<&Rgb8>,
    pictures: &Pictures,
) -> Result<Option<Mask>, ApiError> {
    let convention = convention(violations, mask.convention);
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
    Ok(decoded.ok())
}

/// Refuses a mask, or margins, of which nothing is left in the part of the source that is used.
pub(super) fn check_kept(source: &Source, is_masked: bool) -> Result<(), ApiError> {
    if source.redraw.as_ref().is_none_or(|redraw| !redraw.places.is_empty()) {
        return Ok(());
    }
    let pb::CropBox { x, y, width, height, .. } = source.crop;
    let field = if is_masked { "mask.image" } else { "extend" };
    let problem = format!(
        "marks only pixels that are cropped away: of the source the {width}x{height} pixels from {x},{y} on are used; mark \
         some of those, or ask for a size of the source's aspect"
    );
    Err(ApiError::invalid(field, problem))
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
