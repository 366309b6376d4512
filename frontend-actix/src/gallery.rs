use std::hash::{DefaultHasher, Hash, Hasher};

use fmnist_core::dataset::{Dataset, Origin};

/// The test set that ranges index, as pictures with their true classes.
pub(crate) struct Gallery {
    pub(crate) test_set: Dataset,
    /// Names the content, so that addresses that carry it never change their meaning.
    pub(crate) version: String,
}

impl Gallery {
    pub(crate) fn new(test_set: &Dataset) -> Self {
        let mut hasher = DefaultHasher::new();
        test_set.labels.hash(&mut hasher);
        test_set.images.iter().for_each(|image| image.pixels().hash(&mut hasher));
        Self { test_set: test_set.clone(), version: format!("{:016x}", hasher.finish()) }
    }

    pub(crate) fn is_synthetic(&self) -> bool {
        self.test_set.origin == Origin::Synthetic
    }
}
