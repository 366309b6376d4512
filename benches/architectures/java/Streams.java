import ai.onnxruntime.OrtException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.LogAndContinueProcessingExceptionHandler;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;

/**
 * Kafka Streams with ONNX Runtime in process. Without an argument record by record, as the library is made;
 * with {@code batch} a processor gathers records and answers them together at the next punctuation.
 */
public final class Streams {
    // The shortest that the library has; it looks at it once a round of its loop.
    private static final Duration PUNCTUATION = Duration.ofMillis(1);

    public static void main(String[] arguments) throws Exception {
        boolean batches = arguments.length > 0 && arguments[0].equals("batch");
        var properties = new Properties();
        properties.put("bootstrap.servers", System.getenv("KAFKA"));
        properties.put("application.id", System.getenv("GROUP"));
        properties.put("state.dir", System.getenv("STATE"));
        properties.put("num.stream.threads", batches ? 1 : Model.THREADS);
        properties.put("default.key.serde", Serdes.ByteArraySerde.class);
        properties.put("default.value.serde", Serdes.ByteArraySerde.class);
        properties.put("processing.exception.handler", LogAndContinueProcessingExceptionHandler.class);
        properties.put("errors.dead.letter.queue.topic.name", System.getenv("DEAD_LETTERS"));
        properties.put("commit.interval.ms", 1000);
        properties.put("main.consumer.group.instance.id", "1");
        properties.put("main.consumer.session.timeout.ms", 6000);
        properties.put("main.consumer.max.poll.records", 4 * Model.BATCH);
        properties.put("producer.linger.ms", 0);

        var model = batches ? new Model(Model.THREADS) : null;
        var topology = new Topology()
            .addSource("images", System.getenv("TOPIC"))
            .addProcessor("classify", () -> batches ? new Batches(model) : new Singly(), "images")
            .addSink("results", System.getenv("RESULTS"), "classify");
        var streams = new KafkaStreams(topology, properties);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(5))));
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            Runtime.getRuntime().halt(1);
            return null;
        });
        streams.start();
    }

    /** One inference a record. */
    private static final class Singly implements Processor<byte[], byte[], byte[], byte[]> {
        private ProcessorContext<byte[], byte[]> context;
        private Model model;

        @Override
        public void init(ProcessorContext<byte[], byte[]> context) {
            this.context = context;
            try {
                // One thread each, as tasks run on several.
                model = new Model(1);
            } catch (OrtException error) {
                throw new IllegalStateException(error);
            }
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            var place = context.recordMetadata().orElseThrow();
            float[][] answers = answers(model, List.of(Model.image(record.value())));
            byte[] value = Model.result(place.topic(), place.partition(), place.offset(), answers[0]);
            context.forward(record.withValue(value));
        }
    }

    /**
     * Gathers what comes between two punctuations. The library counts a record as processed once it was
     * taken, so that what is gathered at a commit is lost if the process dies before its answer is sent.
     */
    private static final class Batches implements Processor<byte[], byte[], byte[], byte[]> {
        private record Waiting(Record<byte[], byte[]> record, int partition, long offset) {}

        private final Model model;
        private final List<Waiting> waiting = new ArrayList<>();
        private ProcessorContext<byte[], byte[]> context;
        private String topic;

        Batches(Model model) {
            this.model = model;
        }

        @Override
        public void init(ProcessorContext<byte[], byte[]> context) {
            this.context = context;
            context.schedule(PUNCTUATION, PunctuationType.WALL_CLOCK_TIME, now -> answer());
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            var place = context.recordMetadata().orElseThrow();
            Model.image(record.value());
            topic = place.topic();
            waiting.add(new Waiting(record, place.partition(), place.offset()));
            if (waiting.size() == Model.BATCH) answer();
        }

        private void answer() {
            if (waiting.isEmpty()) return;
            var images = waiting.stream().map(own -> own.record().value()).toList();
            float[][] answers = answers(model, images);
            for (int each = 0; each < answers.length; each++) {
                var of = waiting.get(each);
                byte[] value = Model.result(topic, of.partition(), of.offset(), answers[each]);
                context.forward(of.record().withValue(value));
            }
            waiting.clear();
        }
    }

    private static float[][] answers(Model model, List<byte[]> images) {
        try {
            return model.classify(images);
        } catch (OrtException error) {
            throw new IllegalStateException(error);
        }
    }
}
