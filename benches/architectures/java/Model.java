import ai.onnxruntime.OnnxJavaType;
import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;

/** ONNX Runtime in this process: images of 784 bytes to ten probabilities each. */
final class Model implements AutoCloseable {
    static final int PIXELS = 784;
    static final int BATCH = Integer.parseInt(System.getenv("BATCH"));
    static final int THREADS = Integer.parseInt(System.getenv("THREADS"));
    private static final String[] LABELS = {
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
        "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"
    };

    private final OrtEnvironment environment = OrtEnvironment.getEnvironment();
    private final OrtSession session;
    // Outside of the heap, so that the runtime takes it as it is.
    private final ByteBuffer pixels =
        ByteBuffer.allocateDirect(BATCH * PIXELS).order(ByteOrder.nativeOrder());

    Model(int threads) throws OrtException {
        var options = new OrtSession.SessionOptions();
        options.setIntraOpNumThreads(threads);
        options.addConfigEntry("session.intra_op.allow_spinning", System.getenv("SPIN"));
        session = environment.createSession(System.getenv("MODEL") + ".onnx", options);
        classify(List.of(new byte[PIXELS]));
    }

    /** At most {@link #BATCH} images. */
    float[][] classify(List<byte[]> images) throws OrtException {
        pixels.clear();
        images.forEach(pixels::put);
        pixels.flip();
        long[] shape = {images.size(), 1, 28, 28};
        try (var tensor = OnnxTensor.createTensor(environment, pixels, shape, OnnxJavaType.UINT8);
                var answer = session.run(Map.of("image", tensor))) {
            return (float[][]) answer.get(0).getValue();
        }
    }

    /** The record that stands for one image's answer. */
    static byte[] result(String topic, int partition, long offset, float[] probabilities) {
        int best = 0;
        for (int other = 1; other < probabilities.length; other++) {
            if (probabilities[other] > probabilities[best]) best = other;
        }
        double probability = Math.round(probabilities[best] * 1e4) / 1e4;
        String record = "{\"id\": \"" + topic + "/" + partition + "/" + offset
            + "\", \"predictions\": [{\"index\": 0, \"class\": " + best + ", \"label\": \""
            + LABELS[best] + "\", \"probability\": " + probability + "}]}";
        return record.getBytes(StandardCharsets.UTF_8);
    }

    static byte[] image(byte[] value) {
        if (value.length == PIXELS) return value;
        throw new IllegalArgumentException("expected 784 bytes, found " + value.length);
    }

    @Override
    public void close() throws OrtException {
        session.close();
    }
}
