//! Tensors out of Burn's modules and into them.

use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    tensor::{Tensor, TensorData},
};

use super::{NamedTensor, Tensors, WeightsError};
use crate::model::Network;

/// Copies every tensor out of `network`, running statistics included.
pub fn tensors_of(network: &Network) -> Tensors {
    let mut reader = Reader::default();
    network.visit(&mut reader);
    reader.tensors
}

/// The identity of every tensor of a network, by its path in the modules.
pub fn ids_of(network: &Network) -> BTreeMap<String, ParamId> {
    let mut reader = Reader::default();
    network.visit(&mut reader);
    reader.ids
}

/// Puts `tensors` in the place of every tensor of `network`.
///
/// # Errors
/// [`WeightsError::MissingTensor`], [`WeightsError::Shape`] or [`WeightsError::UnknownTensor`]
/// where the two disagree.
pub fn with_tensors(network: Network, tensors: Tensors) -> Result<Network, WeightsError> {
    let mut writer = Writer { path: Path::default(), tensors, error: None };
    let network = network.map(&mut writer);
    match (writer.error, writer.tensors.into_keys().next()) {
        (Some(error), _) => Err(error),
        (None, Some(name)) => Err(WeightsError::UnknownTensor { name }),
        (None, None) => Ok(network),
    }
}

/// Where a traversal stands. The enum of networks adds no name of its own.
#[derive(Default)]
struct Path(Vec<String>);

impl Path {
    fn enter(&mut self, name: &str, container: &str) {
        if !container.starts_with("Enum:") {
            self.0.push(name.to_owned());
        }
    }

    fn exit(&mut self, container: &str) {
        if !container.starts_with("Enum:") {
            self.0.pop();
        }
    }

    fn name(&self) -> String {
        self.0.join(".")
    }
}

#[derive(Default)]
struct Reader {
    path: Path,
    tensors: Tensors,
    ids: BTreeMap<String, ParamId>,
}

impl ModuleVisitor for Reader {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        let shape = tensor.dims().to_vec();
        let values = tensor.into_data().iter::<f32>().collect();
        self.tensors.insert(self.path.name(), NamedTensor { shape, values });
        self.ids.insert(self.path.name(), param.id);
    }
}

struct Writer {
    path: Path,
    tensors: Tensors,
    error: Option<WeightsError>,
}

impl ModuleMapper for Writer {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.exit(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.name();
        let expected = param.lazy_shape().to_vec();
        let device = param.lazy_device();
        match self.tensors.remove(&name) {
            Some(found) if found.shape == expected => {
                let data = TensorData::new(found.values, found.shape);
                Param::initialized(param.id, Tensor::from_data(data, &device))
            }
            Some(found) => {
                self.error.get_or_insert(WeightsError::Shape {
                    name,
                    expected,
                    found: found.shape,
                });
                param
            }
            None => {
                self.error.get_or_insert(WeightsError::MissingTensor { name });
                param
            }
        }
    }
}
