//! Formats in which judges give their verdicts, one by one.

use judge::parse::{Reading, Scale, Unread, Winner, read_score, read_winner};

const TEN: Scale = Scale { min: 1.0, max: 10.0 };

#[test]
fn score_is_read_in_every_clear_form() {
    let check = |text: &str, score: f64| {
        assert_eq!(read_score(text, Some(TEN)), Reading::Score(score), "{text:?}");
    };
    check("8", 8.0);
    check(" 8.5\n", 8.5);
    check("**8**", 8.0);
    check("8/10", 8.0);
    check("8 out of 10.", 8.0);
    check("８点", 8.0);
    check("8점", 8.0);
    check("[[8]]", 8.0);
    check("Good.\n\nRating: [[8]]", 8.0);
    check("[[Rating: 9]]\n\nIt is good.", 9.0);
    check("[[Rating: [6]]]", 6.0);
    check("[[rating]]: 8\n\nWords.", 8.0);
    check("[[Rating]]: [8]", 8.0);
    check("Rating: 8/10", 8.0);
    check("**Rating:** 8/10", 8.0);
    check("**Rating**: 8/10 because it is short.", 8.0);
    check("Clear.\n### Final Score: 7,5 / 10", 7.5);
    check("Overall rating (1-10): 7", 7.0);
    check("최종 점수: 8점", 8.0);
    check("评分：8", 8.0);
    check("The score is 7.\nScore: 7", 7.0);
    check("Feedback: It is fine. [RESULT] 4", 4.0);
    check("{\"score\": 8, \"rationale\": \"5 of 6 facts\"}", 8.0);
    check("Here it is:\n```json\n{\"rating\": \"8/10\"}\n```\nThat is all.", 8.0);
    check("My verdict {\"evaluation\": {\"score\": 8.0}} stands.", 8.0);
    check("8\n\nThe answer names 3 of 4 causes.", 8.0);
    check("8 - it names 3 of 4 causes.", 8.0);
    check("8/10. It names 3 causes.", 8.0);
    check("It is clear.\n\n8/10", 8.0);
    check("I would rate this response an 8 out of 10.", 8.0);
    check("It deserves a score of 8.", 8.0);
    check("All in all I give a rating of **7** to it.", 7.0);
    check("<think>maybe 3/10? Rating: 3</think>Rating: 8", 8.0);
    check("It was 12 of 15.\nRating: 12", 12.0);
    check("Rating: [[1]]\nOn second thoughts:\nRating: [[3]]", 3.0);
}

/// Every decimal digit of Unicode, according to the regex crate.
#[test]
fn digits_of_every_script_are_converted() {
    let is_digit = regex::Regex::new(r"^\d$").expect("a pattern");
    let digits: Vec<char> = ('\0'..=char::MAX).filter(|c| is_digit.is_match(&c.to_string())).collect();
    assert!(digits.len() >= 760 && digits.len().is_multiple_of(10), "{}", digits.len());
    let scale = Scale { min: 0.0, max: 10.0 };
    for (place, digit) in digits.iter().enumerate() {
        let expected = (place % 10) as f64;
        for text in [
            digit.to_string(),
            format!("Score: {digit}"),
            format!("Good. Rating: [[{digit}]]"),
            format!("{{\"score\": \"{digit}\"}}"),
            format!("{digit}/10"),
            format!("Feedback: fine. [RESULT] {digit}"),
            format!("It deserves a score of {digit}."),
        ] {
            assert_eq!(read_score(&text, Some(scale)), Reading::Score(expected), "{text:?}");
        }
    }
    let check = |text: &str, score: f64| {
        assert_eq!(read_score(text, Some(scale)), Reading::Score(score), "{text:?}");
    };
    check("۸/۱۰", 8.0);
    check("٧٫٥", 7.5);
    check("Score: ๙.๕", 9.5);
    check("𝟖 out of 𝟙𝟘", 8.0);
    check("８．５／１０", 8.5);
    check("8️⃣", 8.0);
    check("Score: −1", -1.0);
    assert_eq!(read_score("8/٥", Some(scale)), Reading::Unread(Unread::OtherScale));
    assert_eq!(read_score("٨ ٧", Some(scale)), Reading::Pair(8.0, 7.0));
    assert_eq!(read_winner("[[２]]"), Ok(Winner::B));
}

#[test]
fn invisible_text_is_ignored() {
    let check = |text: &str, score: f64| {
        assert_eq!(read_score(text, Some(TEN)), Reading::Score(score), "{text:?}");
    };
    check("\u{feff}8", 8.0);
    check("8\0", 8.0);
    check("Sco\u{200b}re:\u{a0}8\r\n", 8.0);
    check("\u{1b}[1mScore: 8\u{1b}[0m", 8.0);
    check("\u{1b}[38;5;12mRating:\u{1b}[0m \u{1b}[1;31m8\u{1b}[m", 8.0);
    check("{\"score\": 8, \"reason\": \"\\ud83d\"}", 8.0);
    let long = format!("{}\nScore: 8", "word ".repeat(300_000));
    assert_eq!(read_score(&long, Some(TEN)), Reading::Unread(Unread::TooLong));
}

#[test]
fn unclear_scores_are_left_unread() {
    let check = |text: &str, reason: Unread| {
        assert_eq!(read_score(text, Some(TEN)), Reading::Unread(reason), "{text:?}");
    };
    check("", Unread::Empty);
    check(" \n", Unread::Empty);
    check("<think>Rating: 8", Unread::OnlyThoughts);
    check("It is good.", Unread::NoVerdict);
    check("Rating", Unread::NoVerdict);
    check("[[rating]]", Unread::NoVerdict);
    check("Rating: N/A", Unread::NoVerdict);
    check("Rating: 7-8", Unread::NoVerdict);
    check("Rating: 7 to 8", Unread::NoVerdict);
    check("Rating: [[5], [1], [2]]", Unread::NoVerdict);
    check("Rating: [[5, 1, 3]]", Unread::NoVerdict);
    check("Rating: 80%", Unread::NoVerdict);
    check("Rating: 11/10", Unread::AboveMaximum);
    for text in ["8/5", "8 / 5", "Score: 8/5", "[[8/5]]", "I rate it 8 out of 5.", "10.5/10"] {
        assert_eq!(read_score(text, None), Reading::Unread(Unread::AboveMaximum), "{text}");
    }
    assert_eq!(read_score("5/5", None), Reading::Score(5.0));
    check("Rating: 4/5", Unread::OtherScale);
    check("Rating: 80/100", Unread::OtherScale);
    check(
        "Output 1\nRating: 4\nOutput 2\nRating: 5 stars of the best, I think. Or not.",
        Unread::Contradiction,
    );
    check("Accuracy: 8/10\nDepth: 7/10", Unread::NoVerdict);
    check("1. It is clear.\n2. It is short.", Unread::NoVerdict);
    check("So the sum is\n\n9", Unread::NoVerdict);
    check("3 apples and 4 pears were named.", Unread::NoVerdict);
    check("A score of 8 for depth.\nA score of 6 for style.", Unread::Contradiction);
    check("A score of 7-8 is due.", Unread::NoVerdict);
    check("{\"score\": null}", Unread::NoVerdict);
    check("{\"a\": {\"score\": 3}, \"b\": {\"score\": 4}}", Unread::Contradiction);
}

#[test]
fn two_scores_are_a_pair() {
    assert_eq!(read_score("9 8.5\nBoth are good.", Some(TEN)), Reading::Pair(9.0, 8.5));
    assert_eq!(read_score("(1, 3)", Some(TEN)), Reading::Pair(1.0, 3.0));
}

#[test]
fn winner_is_read_in_every_clear_form() {
    let check = |text: &str, winner: Winner| assert_eq!(read_winner(text), Ok(winner), "{text:?}");
    check("Output (a)", Winner::A);
    check("B", Winner::B);
    check("Response 2", Winner::B);
    check("Tie", Winner::Tie);
    check("... Final verdict: [[A]]", Winner::A);
    check("[[C]]", Winner::Tie);
    check("{\"winner\": \"tie\"}", Winner::Tie);
    check("```json\n{\"reason\": \"a is short\", \"winner\": \"B\"}\n```", Winner::B);
    check("Output (b) is better. Output (a) is not an answer.", Winner::B);
    check("Output (a) is short. Output (b) is long. Therefore, Output (a) is better.", Winner::A);
    check("Output (b) is better.\nIt is long. Therefore, Output (a) is better.", Winner::A);
    check("Output (b) (Output (a) is rude)", Winner::B);
    check("One says that Output (a) is better.\n\nSo Output (b) is better.", Winner::B);
    check("**Output (a)** is clearly better", Winner::A);
}

#[test]
fn unclear_winners_are_left_unread() {
    let check = |text: &str, reason: Unread| assert_eq!(read_winner(text), Err(reason), "{text:?}");
    check("Neither Output (a) nor Output (b) is better.", Unread::NoVerdict);
    check("# Output (a):\nOnce upon a time", Unread::NoVerdict);
    check("Both are equally long.", Unread::NoVerdict);
    check("Output (b) is better.\nIt is long. Output (a) is better.", Unread::Contradiction);
    check("[[A]] or [[B]]", Unread::Contradiction);
    check("A good answer.", Unread::NoVerdict);
    check("", Unread::Empty);
}

/// Parsing is limited in bytes and in verdicts, so that no text takes long.
#[test]
fn text_with_too_many_verdicts_is_left_unread() {
    let phrases = [
        "Assistant A is better ",
        "Assistant A is better\n",
        "A is better; ",
        "A wins; ",
        "I prefer A over B ",
        "it is a draw, ",
        "A is worse than B\n",
        "[[A]] ",
        "\\boxed{A} ",
        "<winner>A</winner> ",
        ". Winner: A\n",
        "Winner\nA\n",
    ];
    for phrase in phrases {
        assert_eq!(read_winner(&phrase.repeat(2000)), Err(Unread::Contradiction), "{phrase:?}");
        assert_eq!(read_winner(&phrase.repeat(640_000 / phrase.len())), Err(Unread::TooLong), "{phrase:?}");
    }
    // A text may be long.
    let long = "It names the river and the sea. ".repeat(7000);
    assert_eq!(read_winner(&format!("{long}\n\nAssistant A is better.")), Ok(Winner::A));
    assert_eq!(read_winner(&format!("<think>{long}</think>\n[[B]]")), Ok(Winner::B));
}
