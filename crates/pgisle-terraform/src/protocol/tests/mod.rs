//! What the encodings hold, for any value and any bytes. The protocol as a whole is tested with a real Terraform, in `tests/it`.

mod values;
