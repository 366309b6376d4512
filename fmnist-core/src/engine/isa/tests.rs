use super::*;

/// One block, as bytes.
struct ToBytes<'a>(&'a Block, &'a mut [u8; Block::LANES]);

impl Work for ToBytes<'_> {
    #[inline(always)]
    fn run<S: Sums, const ROWS: usize, const POSITIONS: usize>(self) {
        S::Vector::load(self.0).store_bytes(self.1);
    }
}

#[test]
fn numbers_become_bytes_alike_everywhere_also_those_that_are_none() {
    let nan = f32::NAN;
    let numbers = [
        0.0,
        -0.0,
        0.5,
        1.5,
        -0.6,
        -1e30,
        254.5,
        255.4,
        255.6,
        1e5,
        3e9,
        1e30,
        nan,
        -nan,
        f32::INFINITY,
        f32::NEG_INFINITY,
    ];
    let expected = [0, 0, 0, 2, 0, 0, 254, 255, 255, 255, 255, 255, 0, 0, 255, 0];
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        let mut bytes = [7; Block::LANES];
        isa.run(ToBytes(&Block(numbers), &mut bytes));
        assert_eq!(bytes, expected, "{isa}");
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx {
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::*;

    /// The sums of the same random matrices, by tiles and by a loop over rows.
    fn both<const SPANS: usize, const WIDTH: usize>(
        [rows, blocks, pieces, runs, stride]: [usize; 5],
        seed: u64,
    ) -> [[[Square; WIDTH]; SPANS]; 2] {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let length = blocks * pieces;
        let runs: Vec<usize> = (0..runs).map(|_| random.random_range(0..20)).collect();
        let spans: [usize; SPANS] = std::array::from_fn(|_| random.random_range(0..20));
        let input: Vec<Bytes> =
            (0..40 + rows * stride + length).map(|_| Bytes(random.random())).collect();
        // Tiles load rows at the addresses of blocks of weights, whichever of the group they are.
        let weights: Vec<[Weights; WIDTH]> = (0..runs.len() * length * 4)
            .map(|_| std::array::from_fn(|_| Weights(random.random())))
            .collect();
        let factors = Factors { input: &input, stride, runs: &runs, length, weights: &weights };
        let mut sums = [[[Square::ZERO; WIDTH]; SPANS]; 2];
        let [tiles, loops] = &mut sums;
        amx::Tiles::new(rows, blocks).multiply(factors, spans, tiles);
        portable::Rows::new(rows, blocks).multiply(factors, spans, loops);
        sums
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn tiles_multiply_as_loops_do(
            shape in (1..=16_usize, 1..=4_usize, 1..5_usize, 1..4_usize, 0..6_usize),
            seed: u64,
        ) {
            if !Isa::Amx.is_available() {
                eprintln!("skipped: this processor has no AMX, or the system does not lend it");
                return Ok(());
            }
            let (rows, blocks, pieces, runs, stride) = shape;
            let shape = [rows, blocks, pieces, runs, stride];
            let [tiles, loops] = both::<2, 2>(shape, seed);
            prop_assert_eq!(tiles, loops);
            let [tiles, loops] = both::<2, 1>(shape, seed);
            prop_assert_eq!(tiles, loops);
            let [tiles, loops] = both::<1, 3>(shape, seed);
            prop_assert_eq!(tiles, loops);
        }
    }

    #[test]
    fn tiles_that_would_end_behind_the_input_are_refused() {
        if !Isa::Amx.is_available() {
            eprintln!("skipped: this processor has no AMX, or the system does not lend it");
            return;
        }
        let weights = [[Weights([[1; 4]; 16])]; 4];
        let refused = |blocks: usize, span: usize| {
            let input = vec![Bytes::ZERO; blocks];
            let factors =
                Factors { input: &input, stride: 2, runs: &[1], length: 1, weights: &weights };
            let mut sums = [[Square::ZERO; 1]];
            let multiply = || amx::Tiles::new(3, 1).multiply(factors, [span], &mut sums);
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(multiply)).is_err()
        };
        // The last of three rows, two apart, begins at 0 + 1 + 2 * 2.
        assert!(!refused(6, 0));
        assert!(refused(5, 0));
        assert!(refused(6, 1));
        assert!(refused(6, usize::MAX - 1));
    }

    #[test]
    fn a_thread_has_its_tiles_once() {
        if !Isa::Amx.is_available() {
            eprintln!("skipped: this processor has no AMX, or the system does not lend it");
            return;
        }
        let first = amx::Tiles::new(1, 1);
        assert!(std::panic::catch_unwind(|| amx::Tiles::new(16, 4)).is_err());
        drop(first);
        drop(amx::Tiles::new(16, 4));
    }
}
