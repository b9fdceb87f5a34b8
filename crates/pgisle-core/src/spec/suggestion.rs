//! "Did you mean": the known word nearest to an unknown one.

/// The candidate that is near enough to be what was meant.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Longer words are not names that someone misspelt, and the distance costs their product.
    const WORD_CHARACTERS_MAX: usize = 64;
    let word: Vec<char> = word.to_lowercase().replace('-', "_").chars().collect();
    if word.is_empty() || word.len() > WORD_CHARACTERS_MAX {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.replace('-', "_").chars().collect::<Vec<_>>()), candidate))
        .filter(|(distance, candidate)| *distance <= (word.len().max(candidate.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many letters must be inserted, removed, replaced or swapped with their neighbour.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.iter().enumerate() {
        let mut current = vec![i + 1; b.len() + 1];
        for (j, other) in b.iter().enumerate() {
            let replaced = last[j] + usize::from(letter != other);
            current[j + 1] = replaced.min(last[j + 1] + 1).min(current[j] + 1);
            let swapped = i > 0 && j > 0 && *letter == b[j - 1] && a[i - 1] == *other;
            if swapped {
                current[j + 1] = current[j + 1].min(before_last[j - 1] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let words = ["postgres_host", "postgres_port", "tags", "environment"];
        assert_eq!(nearest("postgers_host", words), Some("postgres_host"));
        assert_eq!(nearest("Postgres-Port", words), Some("postgres_port"));
        assert_eq!(nearest("tag", words), Some("tags"));
        assert_eq!(nearest("wholly_different", words), None);
        assert_eq!(nearest("", words), None);
    }
}
