//! A network of any architecture as a module of Burn's: made from the same rows as all else.

use burn::{
    module::Module,
    nn::Linear,
    tensor::{Device, Tensor},
};

use super::{Architecture, Notebook, architecture::networks, conv_net::ConvNet};

/// What is declared of the networks for Burn.
macro_rules! modules {
    ($($(#[$doc:meta])+ $Network:ident = $name:literal [$($row:expr),*];)+) => {
        /// A network of any architecture.
        #[derive(Module, Debug)]
        pub enum Network {
            $($(#[$doc])+ $Network($Network),)+
        }

        impl Network {
            /// Initialises the weights at random, from the device's seed.
            ///
            /// On a device with autodiff the network trains: batch statistics are used and gathered.
            pub fn new(architecture: Architecture, classes: usize, device: &Device) -> Self {
                match architecture {
                    $(Architecture::$Network => Self::$Network($Network::new(classes, device)),)+
                }
            }

            /// Computes what the last layer sees, which is where training drops out.
            ///
            /// # Shapes
            /// - `images`: `[batch, 1, 28, 28]` `f32`, normalised
            /// - output: `[batch, features]` `f32`, at least 0
            pub fn features(&self, images: Tensor<4>) -> Tensor<2> {
                match self {
                    $(Self::$Network(network) => network.features(images),)+
                }
            }

            /// The last layer, from features to logits.
            pub const fn head(&self) -> &Linear {
                match self {
                    $(Self::$Network(network) => network.head(),)+
                }
            }
        }
    };
}

networks!(modules);

impl Network {
    /// Computes the logits.
    ///
    /// # Shapes
    /// - `images`: `[batch, 1, 28, 28]` `f32`, normalised
    /// - output: `[batch, classes]` `f32`, any range
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        self.head().forward(self.features(images))
    }
}

/// The module of [`Architecture::Base`].
pub type Base = ConvNet<{ Architecture::Base as usize }>;
/// The module of [`Architecture::Tiny`].
pub type Tiny = ConvNet<{ Architecture::Tiny as usize }>;
/// The module of [`Architecture::Large`].
pub type Large = ConvNet<{ Architecture::Large as usize }>;
