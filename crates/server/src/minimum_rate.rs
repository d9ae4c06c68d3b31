//! The stream of a connection, which measures how fast its client reads and sends.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Sleep,
};

use crate::connections::{ConnectionUse, SLOWEST};

/// A stream whose writes fail when the peer reads too slowly or not at all: otherwise unsent data would stay in
/// memory indefinitely.
#[derive(Debug)]
pub(crate) struct MinimumRateStream<S = TcpStream> {
    stream: S,
    patience: Duration,
    used: ConnectionUse,
    /// Set while a write waits for the peer.
    wait: Option<Wait>,
}

#[derive(Debug)]
struct Wait {
    /// When the peer's rate is checked.
    end: Pin<Box<Sleep>>,
    /// Bytes that the peer has read since the wait began.
    taken: usize,
}

impl<S> MinimumRateStream<S> {
    pub(crate) fn new(stream: S, patience: Duration, used: ConnectionUse) -> Self {
        Self { stream, patience, used, wait: None }
    }

    /// The result of a write.
    fn judge(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match (written, &mut self.wait) {
            (Poll::Ready(Ok(bytes)), wait) => {
                self.used.taken(bytes);
                if let Some(wait) = wait {
                    wait.taken += bytes;
                }
                Poll::Ready(Ok(bytes))
            }
            (Poll::Pending, _) => {
                self.used.waits_for_client();
                self.wait(context).map(Err)
            }
            (failed, _) => failed,
        }
    }

    /// Waits, and fails if the peer has read too little since the wait began.
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let patience = self.patience;
        loop {
            let begin = || Wait { end: Box::pin(tokio::time::sleep(patience)), taken: 0 };
            let wait = self.wait.get_or_insert_with(begin);
            if wait.end.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if (wait.taken as f64) < SLOWEST * patience.as_secs_f64() {
                let (taken, seconds) = (wait.taken, patience.as_secs_f64());
                let reason = format!("the client took {taken} bytes in {seconds} s");
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, reason));
            }
            self.wait = None;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for MinimumRateStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let bytes = buffer.filled().len() - before;
        if bytes > 0 {
            self.used.heard(bytes);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MinimumRateStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.judge(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A flush follows a complete write.
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(context));
        self.wait = None;
        self.used.all_taken();
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn client_is_behind_from_the_last_time_that_it_read_at_the_minimum_rate() {
        let (ours, mut theirs) = tokio::io::duplex(16);
        let used = ConnectionUse::of_test();
        let mut stream = MinimumRateStream::new(ours, Duration::from_secs(3_600), used.clone());
        let (pause, second) = (Duration::from_secs(5), Duration::from_secs(1));
        tokio::time::sleep(pause).await;
        assert_eq!(used.stalled_for(), Duration::ZERO, "nothing waits for the client");
        let large = [0; 64 << 10];
        let mut writing = Box::pin(async {
            stream.write_all(&large).await.expect("it is read");
            stream.flush().await.expect("it is read");
        });
        let mut read = vec![0; large.len()];
        tokio::select! {
            () = &mut writing => panic!("nothing is read"),
            () = tokio::time::sleep(pause) => {}
        }
        assert_eq!(used.stalled_for(), pause);
        tokio::select! {
            () = &mut writing => panic!("not all is read"),
            // A tenth of the minimum rate.
            () = async {
                for part in read[..8_000].chunks_mut(800) {
                    theirs.read_exact(part).await.expect("it was written");
                    tokio::time::sleep(second).await;
                }
            } => {}
        }
        let stalled = used.stalled_for();
        assert!(stalled > pause + 8 * second && stalled < pause + 10 * second, "{stalled:?}");
        tokio::join!(writing, async {
            theirs.read_exact(&mut read[8_000..]).await.expect("it was written");
        });
        assert_eq!(used.stalled_for(), Duration::ZERO);
    }

    #[tokio::test]
    async fn write_fails_when_the_peer_reads_nothing() {
        let (ours, theirs) = tokio::io::duplex(16);
        let mut stream = MinimumRateStream::new(ours, Duration::from_millis(20), ConnectionUse::of_test());
        let error = stream.write_all(&[0; 64]).await.expect_err("the peer does not read");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(theirs);
    }

    /// Writes a megabyte to a reader of `bytes` per second.
    async fn write_to_reader_of(bytes: usize) -> io::Result<()> {
        let (ours, mut theirs) = tokio::io::duplex(1_024);
        let mut stream = MinimumRateStream::new(ours, Duration::from_secs(30), ConnectionUse::of_test());
        let reader = tokio::spawn(async move {
            let mut taken = vec![0; bytes];
            while theirs.read_exact(&mut taken).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let written = stream.write_all(&[0; 1 << 20]).await;
        reader.abort();
        written
    }

    #[tokio::test(start_paused = true)]
    async fn client_below_the_minimum_rate_is_dropped_and_one_above_it_is_not() {
        let error = write_to_reader_of(7_000).await.expect_err("the reader is below the minimum rate");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        write_to_reader_of(9_000).await.expect("the reader is above the minimum rate");
    }

    #[tokio::test(start_paused = true)]
    async fn idle_time_between_responses_does_not_count() {
        let (ours, mut theirs) = tokio::io::duplex(1_024);
        let mut stream = MinimumRateStream::new(ours, Duration::from_secs(30), ConnectionUse::of_test());
        for _ in 0..3 {
            let mut taken = [0; 2_048];
            let (written, read) = tokio::join!(stream.write_all(&[0; 2_048]), theirs.read_exact(&mut taken));
            written.expect("it is read");
            read.expect("it was written");
            stream.flush().await.expect("all is written");
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
    }
}
