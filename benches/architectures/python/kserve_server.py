"""KServe's own model server around ONNX Runtime: kserve_server.py --http_port PORT --grpc_port PORT"""

from kserve import InferOutput, InferRequest, InferResponse, ModelServer
from kserve import Model as Served
from onnx_model import Model


class Onnx(Served):
    def __init__(self) -> None:
        super().__init__("base")
        self.model = Model()
        self.ready = True

    def predict(self, payload: InferRequest, headers=None, response_headers=None) -> InferResponse:
        probabilities = self.model(payload.inputs[0].as_numpy())
        output = InferOutput("probabilities", list(probabilities.shape), "FP32")
        output.set_data_from_numpy(probabilities, binary_data=True)
        return InferResponse(payload.id, "base", [output])


if __name__ == "__main__":
    ModelServer(enable_latency_logging=False).start([Onnx()])
