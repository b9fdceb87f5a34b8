//! Where two sides differ, row by row: read when a receipt does not come out even.

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use pgisle_core::split::{Comparison, KeyRange, KeyedRow, MovedTable, Take};
use pgisle_core::sql::content::{KEY, keyed_digests};

use crate::backup::content::{ContentError, Reading, open};

/// The ranges of a table's key in which the sides differ; none when it has no key, or a side's key is read as something else.
pub(super) async fn key_ranges(
    old: &Reading<'_>,
    new: &Reading<'_>,
    table: &MovedTable,
) -> Result<Option<Vec<KeyRange>>, ContentError> {
    let (old, new) = futures_util::try_join!(open(old, old.snapshot), open(new, new.snapshot))?;
    let name = format!("{}.{}", table.schema, table.name);
    let failed = || ContentError::query(format!("table {name}, row by row"));
    let rows = old.query(KEY, &[&table.schema, &table.name]).await.map_err(failed())?;
    let key: Vec<(String, bool)> =
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, _>>().map_err(failed())?;
    if key.is_empty() {
        return Ok(None);
    }
    let statement = keyed_digests(&table.schema, &table.name, &key, &table.columns);
    let (names, is_number): (Vec<String>, Vec<bool>) = key.into_iter().unzip();
    let (left, right) = futures_util::try_join!(old.copy_out(&statement), new.copy_out(&statement)).map_err(failed())?;
    let (left, right) = (std::pin::pin!(left), std::pin::pin!(right));
    let (mut left, mut right) = (Rows::new(left, &is_number), Rows::new(right, &is_number));
    let mut comparison = Comparison::new(name.clone(), names);
    let (mut one, mut other) = futures_util::try_join!(left.next(), right.next()).map_err(failed())?;
    while let Some(take) = comparison.step(one.as_ref(), other.as_ref()) {
        if take != Take::New {
            one = left.next().await.map_err(failed())?;
        }
        if take != Take::Old {
            other = right.next().await.map_err(failed())?;
        }
    }
    let is_read = !left.is_strange && !right.is_strange;
    futures_util::join!(old.close(), new.close());
    Ok(is_read.then(|| comparison.finish()))
}

/// One side's rows, one by one.
struct Rows<'a, S> {
    pieces: S,
    is_number: &'a [bool],
    piece: Bytes,
    /// What of a row has come.
    partial: Vec<u8>,
    /// A line came that is no row. The rows end there.
    is_strange: bool,
}

impl<'a, S: Stream<Item = Result<Bytes, tokio_postgres::Error>> + Unpin> Rows<'a, S> {
    fn new(pieces: S, is_number: &'a [bool]) -> Self {
        Self { pieces, is_number, piece: Bytes::new(), partial: Vec::new(), is_strange: false }
    }

    async fn next(&mut self) -> Result<Option<KeyedRow>, tokio_postgres::Error> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.piece) {
                self.partial.extend_from_slice(&self.piece.split_to(end + 1)[..end]);
                let row = KeyedRow::read(&self.partial, self.is_number);
                self.partial.clear();
                self.is_strange |= row.is_none();
                return Ok(row);
            }
            self.partial.extend_from_slice(&self.piece);
            match self.pieces.try_next().await? {
                Some(piece) => self.piece = piece,
                None => return Ok(None),
            }
        }
    }
}
