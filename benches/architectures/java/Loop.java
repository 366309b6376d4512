import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Kafka's own client and ONNX Runtime: a batch of what a poll has, flushed, then committed. */
public final class Loop {
    public static void main(String[] arguments) throws Exception {
        String servers = System.getenv("KAFKA"), results = System.getenv("RESULTS");
        String deadLetters = System.getenv("DEAD_LETTERS");
        Map<String, Object> consuming = new HashMap<>(Map.of(
            "bootstrap.servers", servers,
            "group.id", System.getenv("GROUP"),
            "group.instance.id", "1",
            "session.timeout.ms", 6000,
            "auto.offset.reset", "earliest",
            "enable.auto.commit", false,
            "max.poll.records", Model.BATCH));
        try (var model = new Model(Model.THREADS);
                var producer = new KafkaProducer<>(
                    Map.of("bootstrap.servers", servers, "linger.ms", 0),
                    new ByteArraySerializer(), new ByteArraySerializer());
                var consumer = new KafkaConsumer<>(
                    consuming, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(System.getenv("TOPIC")));
            while (true) {
                var images = new ArrayList<ConsumerRecord<byte[], byte[]>>();
                for (var record : consumer.poll(Duration.ofMillis(100))) {
                    if (record.value().length == Model.PIXELS) images.add(record);
                    else producer.send(new ProducerRecord<>(deadLetters, record.key(), record.value()));
                }
                if (!images.isEmpty()) {
                    var answers = model.classify(images.stream().map(ConsumerRecord::value).toList());
                    for (int each = 0; each < answers.length; each++) {
                        var of = images.get(each);
                        byte[] value =
                            Model.result(of.topic(), of.partition(), of.offset(), answers[each]);
                        producer.send(new ProducerRecord<>(results, of.key(), value), Loop::confirmed);
                    }
                }
                producer.flush();
                consumer.commitSync();
            }
        }
    }

    private static void confirmed(Object metadata, Exception error) {
        if (error == null) return;
        System.err.println("an answer was not taken: " + error);
        Runtime.getRuntime().halt(1);
    }
}
