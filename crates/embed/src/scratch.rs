//! Working memory of passes, reused by later passes.

use std::sync::{Arc, MutexGuard};

use records::lock::Mutex;

use crate::floats::Floats;
use crate::kernels::Functions;
use crate::shape::{FEED_FORWARD, HEAD_QKV, HIDDEN};

/// Planes grow in steps of this many rows, so that packs of similar size share them.
const ROW_STEP: usize = 256;

/// Idle blocks.
#[derive(Default)]
pub(crate) struct Scratch {
    planes: Arc<Pool>,
    heads: Arc<Pool>,
}

/// The activations of a pass, row-major. The threads coordinate which parts they access.
pub(crate) struct Planes {
    /// Owns the memory of the pointers.
    _lease: Lease,
    /// `[rows, HIDDEN]`
    pub(crate) hidden: *mut f32,
    /// `[rows, HIDDEN]`
    pub(crate) context: *mut f32,
    /// `[rows, HIDDEN]`
    pub(crate) sum: *mut f32,
    /// `[rows, FEED_FORWARD]`
    pub(crate) wide: *mut f32,
    /// `[texts, HIDDEN]`
    pub(crate) pooled: *mut f32,
}

// SAFETY: the pointers are into memory that the lease owns, which is not tied to a thread.
unsafe impl Send for Planes {}
// SAFETY: a shared `Planes` is accessed only by unsafe code, which must keep the concurrent accesses of threads disjoint.
unsafe impl Sync for Planes {}

/// The memory that one thread needs to compute a head.
pub(crate) struct HeadMemory {
    _lease: Lease,
    /// `[rows, HEAD_QKV]`
    pub(crate) qkv: *mut f32,
    /// For `Attention::keys`.
    pub(crate) keys: *mut f32,
    /// For `Attention::scores`.
    pub(crate) scores: *mut f32,
}

impl Scratch {
    /// Planes for `rows` rows of `texts` texts.
    pub(crate) fn planes(&self, rows: usize, texts: usize) -> Planes {
        let padded_rows = rows.max(texts).next_multiple_of(ROW_STEP);
        let mut lease = Pool::lease(&self.planes, padded_rows * (4 * HIDDEN + FEED_FORWARD));
        let (hidden, rest) = lease.floats_mut().split_at_mut(padded_rows * HIDDEN);
        let (context, rest) = rest.split_at_mut(padded_rows * HIDDEN);
        let (sum, rest) = rest.split_at_mut(padded_rows * HIDDEN);
        let (pooled, wide) = rest.split_at_mut(padded_rows * HIDDEN);
        Planes {
            hidden: hidden.as_mut_ptr(),
            context: context.as_mut_ptr(),
            sum: sum.as_mut_ptr(),
            wide: wide.as_mut_ptr(),
            pooled: pooled.as_mut_ptr(),
            _lease: lease,
        }
    }

    /// Memory for a head of a pass of `rows` rows.
    pub(crate) fn head(&self, rows: usize, functions: &Functions) -> HeadMemory {
        let qkv_len = rows.next_multiple_of(ROW_STEP) * HEAD_QKV;
        let keys_len = functions.keys_len();
        let mut lease = Pool::lease(&self.heads, qkv_len + keys_len + functions.scores_len());
        let (qkv, rest) = lease.floats_mut().split_at_mut(qkv_len);
        let (keys, scores) = rest.split_at_mut(keys_len);
        HeadMemory {
            qkv: qkv.as_mut_ptr(),
            keys: keys.as_mut_ptr(),
            scores: scores.as_mut_ptr(),
            _lease: lease,
        }
    }
}

/// Blocks of one kind.
#[derive(Default)]
struct Pool {
    /// Shared by the passes that run at the same time.
    idle: Mutex<Vec<Floats>>,
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Vec<Floats>> {
        self.idle.lock()
    }

    /// A block of at least `len` f32, with arbitrary content.
    fn lease(pool: &Arc<Self>, len: usize) -> Lease {
        let mut idle = pool.lock();
        let fitting = idle.iter().position(|floats| floats.len() >= len);
        // The new block replaces one that is too small, so that blocks do not accumulate.
        let taken = fitting.map(|index| idle.swap_remove(index)).or_else(|| idle.pop());
        drop(idle);
        let floats = taken.filter(|floats| floats.len() >= len).unwrap_or_else(|| Floats::zeroed(len));
        Lease { floats: Some(floats), pool: Arc::clone(pool) }
    }
}

/// A block that returns to its pool when dropped.
struct Lease {
    /// `None` only while dropping.
    floats: Option<Floats>,
    pool: Arc<Pool>,
}

impl Lease {
    fn floats_mut(&mut self) -> &mut [f32] {
        self.floats.as_mut().expect("a lease has its block until it is dropped").as_mut_slice()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.lock().extend(self.floats.take());
    }
}
