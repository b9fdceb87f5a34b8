//! Rows for the schema of `examples/link`, as an application like it has them: people with profiles, friends and sessions, rooms with
//! messages of many words, questions and answers, and vectors. The same number of people gives the same rows, byte for byte.

use std::io::Write as _;

/// The schema, which the example's readers try a split on.
pub(super) const SCHEMA: &str = include_str!("../../../examples/link/link_app.sql");

/// Bytes of COPY text that one person brings with all that is about it, measured: what `-megabytes` is divided by.
pub(super) const PERSON_BYTES: u64 = 9_000;

/// So much is handed on at once.
const PIECE_BYTES: usize = 4 << 20;

/// Words that people use. How often each comes falls with its rank, as in any language.
const VOCABULARY: usize = 12_000;

/// The first moment, in seconds: the beginning of 2024.
const EPOCH_S: u64 = 1_704_067_200;

/// What words are made of.
const SYLLABLES: [&str; 48] = [
    "a", "be", "ca", "do", "en", "fi", "go", "ha", "in", "ja", "ke", "lo", "me", "no", "or", "pa", "qui", "re", "so", "ta", "un",
    "ve", "wi", "xe", "yo", "zi", "ing", "er", "ly", "ment", "tion", "ous", "al", "est", "ber", "cra", "dre", "flo", "gri", "ple",
    "sta", "tri", "sch", "th", "ou", "ea", "ck", "nd",
];

const DEVICES: [&str; 6] = [
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148",
    "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/125.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/125.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:126.0) Gecko/20100101 Firefox/126.0",
    "link-android/4.18.2 (SM-S921B; 14)",
];

const CITIES: [&str; 8] = ["Berlin", "Madrid", "Lagos", "Osaka", "Lima", "Toronto", "Pune", "Oslo"];

/// Numbers that look random and are the same each time (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit.max(1)
    }

    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn pick<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[usize::try_from(self.below(list.len() as u64)).unwrap_or_default()]
    }

    fn uuid(&mut self) -> String {
        let (high, low) = (self.next(), self.next());
        let (one, two, three) = (high >> 32, (high >> 16) & 0xffff, (high & 0x0fff) | 0x4000);
        format!("{one:08x}-{two:04x}-{three:04x}-{:04x}-{:012x}", (low >> 48 & 0x3fff) | 0x8000, low & 0xffff_ffff_ffff)
    }

    /// A moment of the two years, as PostgreSQL prints it.
    fn moment(&mut self) -> String {
        let at = EPOCH_S + self.below(2 * 366 * 86_400);
        self.moment_at(at)
    }

    fn moment_at(&mut self, at_s: u64) -> String {
        let (day, second) = (at_s / 86_400, at_s % 86_400);
        let (year, month, day) = date(day);
        let (hour, minute, second, micro) = (second / 3600, second / 60 % 60, second % 60, self.below(1_000_000));
        format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micro:06}+00")
    }
}

/// The date of a day since 1970 (Howard Hinnant's algorithm).
fn date(day: u64) -> (u64, u64, u64) {
    let shifted = day + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// Words by their rank.
struct Vocabulary(Vec<String>);

impl Vocabulary {
    fn new() -> Self {
        let mut random = Random(0x5eed);
        let word = |rank: usize| {
            let syllables = 1 + random.below(2) + u64::from(rank > 100) + u64::from(rank > 3000);
            (0..syllables).map(|_| random.pick(&SYLLABLES)).collect::<String>()
        };
        Self((0..VOCABULARY).map(word).collect())
    }

    /// A word; the one of rank n comes about a n-th as often as the first.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank, small and positive"
    )]
    fn word(&self, random: &mut Random) -> &str {
        let rank = (random.fraction() * (self.0.len() as f64).ln()).exp() as usize;
        &self.0[rank.clamp(1, self.0.len()) - 1]
    }

    fn text(&self, random: &mut Random, words: u64) -> String {
        let mut text = String::new();
        for number in 0..words {
            let word = self.word(random);
            match number {
                0 => text.extend(word.chars().next().into_iter().flat_map(char::to_uppercase).chain(word.chars().skip(1))),
                _ => text.extend([if random.below(9) == 0 { ", " } else { " " }, word]),
            }
        }
        text.push_str(random.pick(&[".", ".", "!", "?", "", " 😀"]));
        text
    }
}

/// Makes the rows of so many people, and hands them on: the table with its columns, and rows as COPY reads them.
pub(super) fn rows(people: u64, hand_on: &mut dyn FnMut(&'static str, Vec<u8>)) {
    let (vocabulary, mut random) = (Vocabulary::new(), Random(people | 1));
    let mut rows = Rows { hand_on, buffer: Vec::new() };
    of_people(people, &vocabulary, &mut random, &mut rows);
    of_rooms(people, &vocabulary, &mut random, &mut rows);
    of_answers(people, &vocabulary, &mut random, &mut rows);
    of_documents(people, &vocabulary, &mut random, &mut rows);
}

/// Rows on their way.
struct Rows<'a> {
    hand_on: &'a mut dyn FnMut(&'static str, Vec<u8>),
    buffer: Vec<u8>,
}

impl Rows<'_> {
    fn table(&mut self, table: &'static str, count: u64, mut row: impl FnMut(&mut Vec<u8>, u64)) {
        for number in 1..=count {
            row(&mut self.buffer, number);
            if self.buffer.len() >= PIECE_BYTES || number == count {
                (self.hand_on)(table, std::mem::take(&mut self.buffer));
            }
        }
    }
}

/// Adds a row.
macro_rules! row {
    ($into:expr, $($form:tt)*) => {{
        // A vector takes everything.
        let _ = writeln!($into, $($form)*);
    }};
}

fn of_people(people: u64, words: &Vocabulary, random: &mut Random, rows: &mut Rows<'_>) {
    rows.table("users (id, public_id, email, display_name, status, profile, created_at, updated_at)", people, |row, id| {
        let (first, last) = (words.word(random), words.word(random));
        let status = random.pick(&["active", "active", "active", "active", "suspended", "deleted"]);
        let profile = format!(
            r#"{{"bio": "{}", "city": "{}", "theme": "{}", "languages": ["{}", "{}"], "notify": {{"mail": {}, "push": true}}}}"#,
            words.text(random, 12),
            random.pick(&CITIES),
            random.pick(&["dark", "light"]),
            random.pick(&["en", "de", "es"]),
            random.pick(&["fr", "ja", "pt"]),
            random.below(2) == 0,
        );
        let uuid = random.uuid();
        let domain = random.pick(&["gmail.com", "outlook.com", "proton.me", "example.org"]);
        row!(
            row,
            "{id}\t{uuid}\t{first}.{last}{id}@{domain}\t{first} {last}\t{status}\t{profile}\t{}\t{}",
            random.moment(),
            random.moment()
        );
    });
    rows.table("friendships (user_id, friend_id, since)", people.saturating_sub(12) * 6, |row, number| {
        let user = (number - 1) / 6 + 1;
        row!(row, "{user}\t{}\t{}", user + 1 + (number - 1) % 6 * 2, random.moment());
    });
    rows.table("friend_requests (id, sender_id, receiver_id, message, sent_at)", people.saturating_sub(1), |row, id| {
        row!(row, "{id}\t{id}\t{}\t{}\t{}", id + 1, words.text(random, 5), random.moment());
    });
    rows.table("sessions (token, user_id, device, expires_at)", people * 4, |row, _| {
        let user = 1 + random.below(people);
        row!(row, "{}\t{user}\t{}\t{}", random.uuid(), random.pick(&DEVICES), random.moment());
    });
    rows.table("user_availability (user_id, available, hours, \"position\", updated_at)", people, |row, id| {
        let (latitude, longitude) = (random.fraction() * 180.0 - 90.0, random.fraction() * 360.0 - 180.0);
        let available = if random.below(2) == 0 { 't' } else { 'f' };
        row!(row, "{id}\t{available}\t\\N\t({latitude:.6},{longitude:.6})\t{}", random.moment());
    });
}

fn of_rooms(people: u64, words: &Vocabulary, random: &mut Random, rows: &mut Rows<'_>) {
    let rooms = people.div_ceil(3);
    rows.table("chat_rooms (id, kind, title, created_by, created_at, updated_at)", rooms, |row, id| {
        let kind = random.pick(&["direct", "direct", "group", "public"]);
        row!(
            row,
            "{id}\t{kind}\t{}\t{}\t{}\t{}",
            words.text(random, 3),
            1 + random.below(people),
            random.moment(),
            random.moment()
        );
    });
    let messages = people * 30;
    rows.table("messages (id, room_id, sender_id, body, reply_to, sent_at)", messages, |row, id| {
        let count = 1 + random.below(8) + random.below(12) * random.below(2);
        let (room, sender) = (1 + random.below(rooms), 1 + random.below(people));
        let at = random.moment_at(EPOCH_S + id * (2 * 366 * 86_400) / messages);
        match random.below(8) {
            0 if id > 1 => row!(row, "{id}\t{room}\t{sender}\t{}\t{}\t{at}", words.text(random, count), 1 + random.below(id - 1)),
            _ => row!(row, "{id}\t{room}\t{sender}\t{}\t\\N\t{at}", words.text(random, count)),
        }
    });
    rows.table("room_members (room_id, user_id, joined_at)", rooms * 4, |row, number| {
        row!(row, "{}\t{}\t{}", (number - 1) / 4 + 1, (number * 7) % people + 1, random.moment());
    });
    rows.table("message_reads (message_id, user_id, read_at)", messages / 2, |row, number| {
        let at = random.moment_at(EPOCH_S + 60 + number * 2 * (2 * 366 * 86_400) / messages);
        row!(row, "{}\t{}\t{at}", number * 2, 1 + random.below(people));
    });
}

fn of_answers(people: u64, words: &Vocabulary, random: &mut Random, rows: &mut Rows<'_>) {
    let mut conversations = Vec::new();
    rows.table("ai_conversations (id, user_id, topic, started_at)", people, |row, _| {
        let id = random.uuid();
        row!(row, "{id}\t{}\t{}\t{}", 1 + random.below(people), words.text(random, 3), random.moment());
        conversations.push(id);
    });
    rows.table("ai_requests (id, conversation_id, user_id, prompt, parameters, asked_at)", people * 3, |row, id| {
        let conversation = &conversations[usize::try_from(random.below(people)).unwrap_or_default()];
        let parameters = format!(r#"{{"model": "{}", "top_p": 0.{}}}"#, random.pick(&["small", "large"]), random.below(100));
        let user = 1 + random.below(people);
        let count = 6 + random.below(20);
        row!(row, "{id}\t{conversation}\t{user}\t{}\t{parameters}\t{}", words.text(random, count), random.moment());
    });
    rows.table("ai_responses (request_id, content, tokens, answered_at)", people * 3, |row, id| {
        let count = 30 + random.below(80);
        row!(row, "{id}\t{}\t{}\t{}", words.text(random, count), count * 4 / 3, random.moment());
    });
    rows.table("audit_logs (id, actor, action, details, address, at)", people * 5, |row, number| {
        let action = random.pick(&["login", "logout", "profile.update", "message.delete", "consent.grant"]);
        let details = format!(r#"{{"ip": "10.{}.{}.1", "ok": {}}}"#, random.below(4), random.below(256), random.below(9) > 0);
        let (actor, address) = (1 + random.below(people), random.below(1 << 16));
        let at = random.moment_at(EPOCH_S + number * (2 * 366 * 86_400) / (people * 5));
        row!(row, "{}\t{actor}\t{action}\t{details}\t192.168.{}.{}\t{at}", 1000 + number * 10, address >> 8, address & 255);
    });
}

fn of_documents(people: u64, words: &Vocabulary, random: &mut Random, rows: &mut Rows<'_>) {
    rows.table("embeddings (id, source, source_id, embedding)", people * 2, |row, id| {
        let numbers: Vec<String> = (0..32).map(|_| format!("{:.6}", random.fraction() * 2.0 - 1.0)).collect();
        row!(row, "{id}\tmessage\t{id}\t[{}]", numbers.join(","));
    });
    rows.table("search_index (document_id, user_id, words)", people * 2, |row, id| {
        let lexemes: Vec<String> = (1..10).map(|place| format!("'{}':{place}", words.word(random))).collect();
        row!(row, "{id}\t{}\t{}", 1 + random.below(people), lexemes.join(" "));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_people_give_the_same_rows() {
        let all = |people| {
            let mut all = Vec::new();
            rows(people, &mut |table, rows| all.push((table, rows)));
            all
        };
        let (one, other) = (all(50), all(50));
        assert!(one == other);
        let bytes: usize = one.iter().map(|(_, rows)| rows.len()).sum();
        let per_person = bytes as u64 / 50;
        assert!((PERSON_BYTES / 2..PERSON_BYTES * 2).contains(&per_person), "{per_person}");
    }

    #[test]
    fn days_are_dates() {
        assert_eq!(date(19_723), (2024, 1, 1));
        assert_eq!(date(19_723 + 59), (2024, 2, 29));
        assert_eq!(date(20_089), (2025, 1, 1));
    }
}
