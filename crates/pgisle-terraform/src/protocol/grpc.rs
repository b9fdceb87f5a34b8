//! Unary gRPC on hyper: one message comes, one goes, and trailers say how it went.

use std::convert::Infallible;
use std::fmt::Write as _;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http_body_util::combinators::WithTrailers;
use http_body_util::{BodyExt as _, Either, Empty, Full};
use hyper::body::Body;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Response, StatusCode};

/// The most that a message may have, either way: what go-plugin lets through.
const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// A byte that says whether it is compressed, and four with the length.
const FRAME_HEAD_BYTES: usize = 5;

const GRPC: &str = "application/grpc";

/// How a call failed, by gRPC's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// The message is not what it should be.
    InvalidArgument = 3,
    /// The message is too large.
    ResourceExhausted = 8,
    /// There is no such call.
    Unimplemented = 12,
    /// Anything else.
    Internal = 13,
}

/// A failed call. What a user should do something about is a diagnostic in an answer instead.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: Code,
    pub(super) text: String,
}

impl Failure {
    pub(super) fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

type Trailers = std::future::Ready<Option<Result<HeaderMap, Infallible>>>;

/// The answer's body: a message with trailers, or nothing.
pub(super) type Answer = Response<Either<WithTrailers<Full<Bytes>, Trailers>, Empty<Bytes>>>;

/// Reads the one message of a request. What is too large is refused when it says so, before it is taken in.
pub(super) async fn message<B>(mut body: B) -> Result<Bytes, Failure>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut received = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Failure::new(Code::Internal, "the message was broken off"))?;
        // Trailers mean nothing.
        let Ok(data) = frame.into_data() else { continue };
        received.extend_from_slice(&data);
        if let Some((head, message)) = received.split_first_chunk()
            && message.len() > length(*head)?
        {
            return Err(Failure::new(Code::InvalidArgument, "something follows the message"));
        }
    }
    let Some((head, message)) = received.split_first_chunk() else {
        return Err(Failure::new(Code::InvalidArgument, "the message is cut off"));
    };
    if message.len() < length(*head)? {
        return Err(Failure::new(Code::InvalidArgument, "the message is cut off"));
    }
    received.advance(FRAME_HEAD_BYTES);
    Ok(received.freeze())
}

fn length([is_compressed, length @ ..]: [u8; FRAME_HEAD_BYTES]) -> Result<usize, Failure> {
    if is_compressed != 0 {
        return Err(Failure::new(Code::Unimplemented, "compressed messages are not understood"));
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > MESSAGE_BYTES_MAX {
        return Err(Failure::new(Code::ResourceExhausted, "the message is too large"));
    }
    Ok(length)
}

/// True for what may be a call at all.
pub(super) fn is_call(method: &Method, headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    method == Method::POST && kind.starts_with(GRPC.as_bytes())
}

/// The answer to what is not even a call.
pub(super) fn not_a_call() -> Answer {
    let mut answer = Response::new(Either::Right(Empty::new()));
    *answer.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    answer
}

/// The answer to a call.
pub(super) fn answer(result: Result<Vec<u8>, Failure>) -> Answer {
    match result.and_then(|message| framed(&message)) {
        Ok(frame) => {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            let body = Full::new(frame).with_trailers(std::future::ready(Some(Ok(trailers))));
            with_content_type(Response::new(Either::Left(body)))
        }
        Err(Failure { code, text }) => {
            let mut answer = with_content_type(Response::new(Either::Right(Empty::new())));
            answer.headers_mut().insert("grpc-status", HeaderValue::from(code as u16));
            if let Ok(text) = HeaderValue::try_from(percent_encoded(&text)) {
                answer.headers_mut().insert("grpc-message", text);
            }
            answer
        }
    }
}

fn with_content_type(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
    answer
}

fn framed(message: &[u8]) -> Result<Bytes, Failure> {
    let length = u32::try_from(message.len()).ok().filter(|_| message.len() <= MESSAGE_BYTES_MAX);
    let length = length.ok_or_else(|| Failure::new(Code::ResourceExhausted, "the answer is too large"))?;
    let mut frame = BytesMut::with_capacity(FRAME_HEAD_BYTES + message.len());
    frame.put_u8(0);
    frame.put_u32(length);
    frame.put_slice(message);
    Ok(frame.freeze())
}

/// As `grpc-message` has it: what is not printable ASCII, and the percent sign itself.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            let _infallible = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;

    /// In one piece, and byte by byte.
    fn received(frame: &[u8]) -> [Result<Bytes, Code>; 2] {
        let pieces = frame.iter().map(|byte| Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(&[*byte]))));
        let whole = message(Full::new(Bytes::copy_from_slice(frame))).now_or_never();
        let pieces = message(StreamBody::new(futures_util::stream::iter(pieces))).now_or_never();
        [whole, pieces].map(|message| message.expect("all of it is there").map_err(|failure| failure.code))
    }

    #[test]
    fn only_one_whole_plain_message_is_taken() {
        let frame = framed(b"abc").expect("a frame");
        assert_eq!(received(&frame), [Ok(Bytes::from_static(b"abc")), Ok(Bytes::from_static(b"abc"))]);
        assert_eq!(received(&framed(b"").expect("a frame")), [Ok(Bytes::new()), Ok(Bytes::new())]);
        let twice = [frame.clone(), frame.clone()].concat();
        for (wrong, code) in [
            (&b""[..], Code::InvalidArgument),
            (&frame[..4], Code::InvalidArgument),
            (&frame[..7], Code::InvalidArgument),
            (&twice, Code::InvalidArgument),
            (b"\x01\0\0\0\x01a", Code::Unimplemented),
            (b"\0\x10\0\0\0a", Code::InvalidArgument),
            (b"\0\x10\0\0\x01a", Code::ResourceExhausted),
        ] {
            assert_eq!(received(wrong), [Err(code), Err(code)], "{wrong:?}");
        }
    }

    #[test]
    fn a_failure_is_told_in_ascii() {
        assert_eq!(percent_encoded("50 % ü\n"), "50 %25 %C3%BC%0A");
        let answer = answer(Err(Failure::new(Code::Unimplemented, "no ü")));
        assert_eq!(answer.headers()["grpc-status"], "12");
        assert_eq!(answer.headers()["grpc-message"], "no %C3%BC");
    }
}
