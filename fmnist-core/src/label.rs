//! The ten classes of Fashion-MNIST, in the official order and spelling.

/// Number of classes in Fashion-MNIST.
pub const CLASSES: usize = 10;

/// The official class names; the index is the class.
pub const LABELS: [&str; CLASSES] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

/// The name that the old consumers printed: as the official one, but for the last ("Ankle Boot").
pub fn console_label(label: &str) -> &str {
    if label == LABELS[9] { "Ankle Boot" } else { label }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_ankle_boot_is_spelled_differently_on_the_console() {
        let changed: Vec<_> = LABELS.iter().filter(|l| console_label(l) != **l).collect();
        assert_eq!(changed, [&"Ankle boot"]);
        assert_eq!(console_label("Ankle boot"), "Ankle Boot");
    }
}
