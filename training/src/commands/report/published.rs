//! What others have reached on the official test set.

/// One published result.
#[derive(Debug, serde::Serialize)]
pub(super) struct Published {
    pub(super) name: &'static str,
    pub(super) parameters: u64,
    /// For one image; `None` where it was not said.
    pub(super) multiply_adds: Option<u64>,
    /// Test accuracy, in percent.
    pub(super) percent: f64,
    pub(super) source: &'static str,
}

/// The list of submitted results in the data set's own README.
const DATA_SET: &str = "[the data set's list](https://github.com/zalandoresearch/fashion-mnist)";
const RANDOM_ERASING: &str = "[Zhong et al. 2017](https://arxiv.org/abs/1708.04896)";

/// Results whose number of parameters is known, the smallest first.
pub(super) const PUBLISHED: &[Published] = &[
    result("two convolutions", 100_000, 92.5, DATA_SET),
    result("two convolutions (113 k)", 113_000, 92.2, DATA_SET),
    Published {
        multiply_adds: Some(31_000_000),
        ..result("ResNet-20, random erasing", 272_000, 95.98, RANDOM_ERASING)
    },
    Published {
        multiply_adds: Some(70_000_000),
        ..result("ResNet-32, random erasing", 460_000, 96.20, RANDOM_ERASING)
    },
    result("DenseNet-BC", 768_000, 95.4, DATA_SET),
    result("two convolutions, three dense", 1_800_000, 93.2, DATA_SET),
    result(
        "DARTS, fine-tuned",
        3_200_000,
        96.91,
        "[Tanveer, Khan and Kyung 2020](https://arxiv.org/abs/2006.09042)",
    ),
    result("capsules", 8_000_000, 93.6, DATA_SET),
    result("WRN-40-4", 8_900_000, 96.7, DATA_SET),
    result("VGG-16", 26_000_000, 93.5, DATA_SET),
];

const fn result(
    name: &'static str,
    parameters: u64,
    percent: f64,
    source: &'static str,
) -> Published {
    Published { name, parameters, multiply_adds: None, percent, source }
}
