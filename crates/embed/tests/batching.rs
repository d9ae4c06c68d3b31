//! A text's vector has the same bits in any batch, in any order, on any number of threads.

use std::sync::Arc;
use std::thread;

use embed::Kernel;
use test_support::count;

use crate::support;

#[test]
fn a_text_alone_has_the_bits_it_has_in_a_batch() {
    let texts = support::reference_texts();
    for kernel in support::kernels() {
        // Every fifth text covers all tile heights; the portable kernel would take minutes for as many.
        let step = if kernel == Kernel::Portable { count(50, 25) } else { 5 };
        let texts: Vec<&str> = texts.iter().map(String::as_str).step_by(step).collect();
        let one = support::load(kernel, 1);
        let three = support::load(kernel, 3);
        let together = one.embed(&texts).unwrap();
        assert!(together == three.embed(&texts).unwrap(), "{kernel}: threads change the bits");
        for (text, expected) in texts.iter().zip(&together).step_by(count(3, 1)) {
            assert!(one.embed(&[text]).unwrap()[0] == *expected, "{kernel}: {text:?} alone on one thread");
            assert!(three.embed(&[text]).unwrap()[0] == *expected, "{kernel}: {text:?} alone on three");
        }
    }
}

#[test]
fn order_and_batch_do_not_change_the_bits() {
    let texts = support::reference_texts();
    let model = support::load(Kernel::detect(), 2);
    let forwards: Vec<&str> = texts.iter().map(String::as_str).step_by(count(4, 1)).collect();
    let expected = model.embed(&forwards).unwrap();
    for size in [2, 5, 40] {
        for (texts, expected) in forwards.chunks(size).zip(expected.chunks(size)) {
            let backwards: Vec<&str> = texts.iter().rev().copied().collect();
            let mut found = model.embed(&backwards).unwrap();
            found.reverse();
            assert!(found == expected, "batches of {size}");
        }
    }
}

#[test]
fn callers_on_several_threads_do_not_disturb_each_other() {
    let texts = support::reference_texts();
    let model = Arc::new(support::load(Kernel::detect(), 2));
    let texts: Vec<&str> = texts.iter().map(String::as_str).step_by(count(4, 1)).collect();
    let expected = model.embed(&texts).unwrap();
    thread::scope(|scope| {
        for part in 0..4 {
            let (model, texts, expected) = (&model, &texts, &expected);
            scope.spawn(move || {
                for size in [1, 30] {
                    let own = texts.chunks(size).zip(expected.chunks(size)).skip(part).step_by(4);
                    for (texts, expected) in own {
                        assert!(model.embed(texts).unwrap() == expected);
                    }
                }
            });
        }
    });
}

#[test]
fn no_texts_have_no_embeddings() {
    assert!(support::load(Kernel::detect(), 2).embed(&[]).unwrap().is_empty());
}

#[test]
fn awkward_texts_have_finite_vectors_of_length_one() {
    let huge = "panoptes ".repeat(120_000);
    let unbroken = "x".repeat(1_000_000);
    let texts =
        ["", " \t\r\n", "\0", "\u{feff}", "\u{1}\u{2}\u{7f}", "\u{301}\u{302}", "👩‍👩‍👧‍👦", &huge, &unbroken];
    for embedding in support::load(Kernel::detect(), 2).embed(&texts).unwrap() {
        let length: f64 = embedding.as_slice().iter().map(|x| f64::from(*x).powi(2)).sum();
        assert!((length - 1.0).abs() < 1e-6);
    }
}

#[test]
fn real_awkward_texts_are_embedded() {
    let Some(archive) = support::shared("data/edge_texts.jsonl.gz") else { return };
    let lines = std::process::Command::new("gzip").arg("-dc").arg(archive).output().unwrap().stdout;
    let texts: Vec<String> = lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            serde_json::from_slice::<serde_json::Value>(line).unwrap()["text"].as_str().unwrap().to_owned()
        })
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let embeddings = support::load(Kernel::detect(), 2).embed(&texts).unwrap();
    assert_eq!(embeddings.len(), texts.len());
    assert!(embeddings.iter().all(records::Embedding::is_finite));
}
