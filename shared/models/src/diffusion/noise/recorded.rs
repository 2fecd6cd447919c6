//! Draws recorded from another implementation, in the form of the parity fixtures.

use std::collections::HashMap;

use candle_core::{DType, Result, Tensor};

use super::{Draws, DrawsError, PlaceDraw};
use crate::mar::LATENT_CHANNELS;

/// The draws of one recorded run.
#[derive(Clone, Debug)]
pub struct RecordedDraws {
    orders: Vec<Vec<u32>>,
    iterations: HashMap<usize, RecordedIteration>,
}

#[derive(Clone, Debug)]
struct RecordedIteration {
    /// Row of every image and place predicted in the iteration.
    rows: HashMap<(u32, u32), usize>,
    /// `[R, 16]`.
    init: Vec<f32>,
    /// `[S, R, 16]`.
    steps: Vec<f32>,
}

impl RecordedDraws {
    /// From `orders` `[n, N]` and, of every iteration i that predicts something, `noise.i.init` `[R, 16]` and `noise.i.steps`
    /// `[S, R, 16]`. Rows are the places predicted in iteration i, images first, then raster order. How many they are
    /// follows from R, and which from the orders.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn from_tensors(tensors: &HashMap<String, Tensor>) -> Result<Self> {
        let Some(orders) = tensors.get("orders") else { candle_core::bail!("no recorded orders") };
        let orders: Vec<Vec<u32>> = orders.to_dtype(DType::U32)?.to_vec2()?;
        let mut numbers: Vec<usize> = tensors.keys().filter_map(|key| iteration_of(key)).collect();
        numbers.sort_unstable();
        let mut n_masked = orders.first().map_or(0, Vec::len);
        let mut iterations = HashMap::new();
        for number in numbers {
            let values = |name: &str| match tensors.get(&format!("noise.{number}.{name}")) {
                Some(tensor) => tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1(),
                None => candle_core::bail!("noise.{number}.{name} is not recorded"),
            };
            let (init, steps): (Vec<f32>, Vec<f32>) = (values("init")?, values("steps")?);
            let n_each = init.len() / LATENT_CHANNELS / orders.len().max(1);
            let Some(n_next) = n_masked.checked_sub(n_each) else {
                candle_core::bail!("iteration {number} has draws for {n_each} places, but {n_masked} are left")
            };
            let mut rows = HashMap::new();
            for (image, order) in (0_u32..).zip(&orders) {
                let Some(places) = order.get(n_next..n_masked) else { candle_core::bail!("orders differ in length") };
                let mut places = places.to_vec();
                places.sort_unstable();
                for place in places {
                    rows.insert((image, place), rows.len());
                }
            }
            n_masked = n_next;
            iterations.insert(number, RecordedIteration { rows, init, steps });
        }
        Ok(Self { orders, iterations })
    }

    fn at(
        &self,
        image: u32,
        iteration: usize,
        place: u32,
        head_step: Option<usize>,
    ) -> std::result::Result<PlaceDraw, DrawsError> {
        let find = || {
            let recorded = self.iterations.get(&iteration)?;
            let row = recorded.rows.get(&(image, place))? * LATENT_CHANNELS;
            let (values, first) = match head_step {
                None => (&recorded.init, row),
                Some(step) => (&recorded.steps, step * recorded.init.len() + row),
            };
            values.get(first..first + LATENT_CHANNELS)?.try_into().ok()
        };
        let what = || format!("image {image}, iteration {iteration}, place {place}, head step {head_step:?}");
        find().ok_or_else(|| DrawsError(what()))
    }
}

/// i of `noise.i.init`.
fn iteration_of(key: &str) -> Option<usize> {
    key.strip_prefix("noise.")?.strip_suffix(".init")?.parse().ok()
}

impl Draws for RecordedDraws {
    fn order(&self, image: u32, n_places: usize) -> std::result::Result<Vec<u32>, DrawsError> {
        let order = self.orders.get(image as usize).filter(|order| order.len() == n_places);
        order.cloned().ok_or_else(|| DrawsError(format!("the order of {n_places} places of image {image}")))
    }

    fn init(&self, image: u32, iteration: usize, place: u32) -> std::result::Result<PlaceDraw, DrawsError> {
        self.at(image, iteration, place, None)
    }

    fn step(
        &self,
        image: u32,
        iteration: usize,
        place: u32,
        head_step: usize,
    ) -> std::result::Result<PlaceDraw, DrawsError> {
        self.at(image, iteration, place, Some(head_step))
    }
}
