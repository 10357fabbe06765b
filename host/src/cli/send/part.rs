//! What goes in one request.

/// Items with the numbers of their lines.
pub(super) type Part = Vec<(usize, String)>;

/// The second half of a part, by bytes; of two items, each half has one at least.
pub(super) fn halve(part: &mut Part) -> Part {
    let half = bytes(part) / 2;
    let mut sum = 0;
    let middle = part.iter().position(|(_, item)| {
        sum += item.len() + 1;
        sum > half
    });
    part.split_off(middle.unwrap_or_default().clamp(1, part.len() - 1))
}

/// With the ends of their lines.
pub(super) fn bytes(part: &Part) -> usize {
    part.iter().map(|(_, item)| item.len() + 1).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_have_all_of_it_and_an_item_each() {
        for sizes in [&[1, 1][..], &[100, 1], &[1, 100], &[0, 0, 0], &[5, 5, 5, 100, 5], &[3; 1000]] {
            let whole: Part =
                sizes.iter().enumerate().map(|(line, size)| (line, "x".repeat(*size))).collect();
            let mut first = whole.clone();
            let second = halve(&mut first);
            assert!(!first.is_empty() && !second.is_empty(), "{sizes:?}");
            assert!(first.len() == 1 || bytes(&first) <= bytes(&whole) / 2, "{sizes:?}");
            assert_eq!([first, second].concat(), whole);
        }
    }
}
