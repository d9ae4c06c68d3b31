//! Parsing of which of two answers a judge prefers.

use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::Value;

use super::{
    Unread,
    claim::{Claim, LastWord, MAX_VERDICTS, is_own, settle},
    doubt::is_changed,
    json::{self, Entry},
    pattern,
    sentence::{NEAR_BYTES, sentence_start},
    text::{is_blank, plain},
};

/// Which of two answers is better, in the order in which the judge saw them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Winner {
    /// The first.
    A,
    /// The second.
    B,
    /// Neither.
    Tie,
}

impl Winner {
    /// `a`, `b` or `tie`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
            Self::Tie => "tie",
        }
    }

    /// The same winner if the judge saw the answers in the other order.
    pub fn swapped(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
            Self::Tie => Self::Tie,
        }
    }
}

const ANSWER: &str =
    r"(?:output|response|assistant|model|answer|option|summary|candidate|text|system|chatbot)";
const NAME: &str = r"\(?(?<w>[abAB12])\)?";
const ADVERBS: &str = r"(?:(?:clearly|slightly|much|significantly|far|considerably|somewhat|marginally|definitely|overall|also|therefore|generally|a|bit)\s+)*";
const BETTER: &str = r"(?:the\s+)?(?:better|best|superior|preferred|preferable|winner)";

const LABEL: &str = r"(?:(?:my|the|final|overall)\s+){0,3}(?:(?:better|best|preferred)\s+(?:one|answer|response|output)|verdict|winner|choice|decision|preference|judge?ment|胜者|勝者|获胜者|更好的回答|승자|gewinner|sieger|gagnante?|vainqueur|ganadora?|vencedora?|vincitore|победитель|winnaar|zwycięzca|kazanan|الفائز|विजेता|ผู้ชนะ)";
const TIE: &str = r"(?:(?:it|this|that|the\s+(?:result|verdict|outcome|comparison))(?:'?s|\s+is)\s+)?(?:an?\s+)?(?:tie|draw)";

static BRACKETS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"(?i)\[\[\s*(?:{LABEL}\s*[:=]?\s*)?(?:{ANSWER}\s+)?(?:(?<w>a|b|c|1|2|tie)|(?<l>[ab])\s*(?<op>>{{1,2}}|<{{1,2}}|=|~)\s*(?<r>[ab]))\s*\]\]"
    ))
});
static BOXED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"(?i)\\(?:boxed|fbox)\s*\{{\s*(?:{LABEL}\s*[:=]?\s*)?(?:{ANSWER}\s*)?\(?(?<w>a|b|1|2|tie|draw)\)?\s*\}}"
    ))
});
static TAG: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)<\s*(?:winner|verdict|final_verdict|choice|decision|preference|preferred|better|judge?ment|answer|final_answer|result)\s*>\s*(?<inside>[^<>\n]{1,40}?)\s*(?:</[a-z_]{1,30}\s*>|$|\n)",
    )
});
/// A line that is the verdict and nothing else.
static LINE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r#"(?i)^[\s"'_`\[|]*(?:[#>\s|-]*(?:(?:(?:therefore|thus|so|overall|hence)[,:]?\s+)?{LABEL}|(?:(?:my|the|final)\s+){{0,2}}answer|result|outcome|preferred|better|overall)[_`\]]*\s*(?:->|[:=|→\]]|[-–—]\s|\bis\b)\s*)?[_`"'\[]*(?:{ANSWER}[\s_-]*)?(?:{NAME}|(?<tie>{TIE})|(?<l>[ab])\s*(?<op>>{{1,2}}|<{{1,2}}|=)\s*(?<r>[ab]))[\s"'_`.!|\]]*$"#
    ))
});
/// A label and the verdict at the end of a line, after other words.
static INLINE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r#"(?im)(?:[.!?;,:–—(-][\s"')]*|[。！？])(?-m:){LABEL}\s*(?::|=|\bis\b)\s*[_`"'\[(]*(?:{ANSWER}\s*)?(?:{NAME}|(?<tie>{TIE}))[\s"'_`.!)\]]*$"#
    ))
});
/// A label on a line of its own, and the verdict on the next line.
static HEADING: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r#"(?im)^[\s#>_`-]*{LABEL}\s*:?[ \t_`]*\n\s*[_`"'\[(]*(?:{ANSWER}\s*)?(?:{NAME}|(?<tie>{TIE}))[ \t"'_`.!)\]]*$"#
    ))
});
static SENTENCE: LazyLock<Regex> = LazyLock::new(|| {
    let name2 = NAME.replace("<w>", "<w2>");
    pattern(&format!(
        r"(?i)\b{ANSWER}\s*{NAME}\s+(?:is|was)\s+{ADVERBS}{BETTER}\b|\bbetter\s+{ANSWER}\b[^.\n]{{0,60}}?\bis\s+(?:clearly\s+)?{ANSWER}\s*{name2}"
    ))
});
/// A sentence that is the verdict, in which answers are only named; or a tie.
static BARE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r#"(?:^|[\s"'(])(?<w>[AB])\s+(?:(?i:is|was)\s+(?i:{ADVERBS}{BETTER})|(?i:{ADVERBS}wins))(?i:\s+(?:answer|response|output|one|choice))?(?i:\s+overall|\s+here|\s+than\s+[AB])?\s*(?:[.!;]|$|\n|,?\s+because\b)|(?i:\b(?:it|this|that|the\s+(?:result|verdict|outcome|comparison))(?:'s|\s+is)\s+{ADVERBS}an?\s+(?<tie>tie|draw)\b)"#
    ))
});
/// The judge's choice.
static CHOICE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"\bI(?:'d|’d|\s+would|\s+will|'ll)?(?:\s+(?:therefore|thus|overall|clearly|slightly|strongly))?\s+(?:prefer|choose|pick|select|favou?r|vote\s+for|go\s+(?:with|for))\s+(?:the\s+)?(?i:{ANSWER}\s+)?(?<w>[AB])(?:\s*(?:[.!]|$|\n|,?\s+because\b)|\s+(?:over|to)\s+(?i:{ANSWER}\s+)?[AB]\b)"
    ))
});
/// Which of the two is worse.
static WORSE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"(?:^|[.!]\s+|\n)(?:(?i:{ANSWER})\s+)?(?<l>[AB12])\s+(?i:is\s+{ADVERBS}(?:(?:worse|weaker|poorer)\s+than|inferior\s+to))\s+(?:(?i:{ANSWER})\s+)?(?<w>[AB12])\s*(?:[.!]|$|\n)"
    ))
});
/// A last sentence that is a conclusion and only a name.
static THEREFORE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"^\s*(?i:overall|therefore|thus|so|hence|in\s+(?:summary|conclusion|total)),?\s+(?:(?i:{ANSWER})\s+)?(?<w>[AB])[.!]?\s*$"
    ))
});
/// A complete text that is a tie.
static EVEN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)^\s*(?:(?:so\s+|overall,?\s+)?I\s+(?:would\s+)?(?:call\s+it|declare)\s+a\s+(?:tie|draw)|(?:both|they|both\s+\w+|a\s+and\s+b|the\s+(?:answers|responses|outputs|two(?:\s+\w+)?))\s+(?:tie|(?:are|seem)\s+(?:about\s+)?(?:equally\s+(?:good|bad|helpful|useful|strong|weak|valid|satisfying|convincing)|(?:roughly\s+|exactly\s+|completely\s+)?(?:equal|the\s+same|identical|tied|on\s+(?:a\s+)?par|of\s+(?:the\s+same|equal)\s+(?:overall\s+)?quality)(?:\s+in\s+(?:overall\s+)?quality|\s+overall)?))|there\s+is\s+no\s+winner|neither(?:\s+\w+)?\s+is\s+better(?:\s+than\s+the\s+other)?|平局|平手|引き分け|무승부|gleichstand|unentschieden|empate|égalité|pareggio|ничья|remis|berabere)\s*[.!。]?\s*$",
    )
});
/// A complete text that says which of two answers wins or loses.
static WHOLE: LazyLock<Regex> = LazyLock::new(|| {
    let name = format!(r"(?:the\s+)?(?:{ANSWER}\s+)?");
    let one = format!(r"(?:\s+(?:one|{ANSWER}))?");
    let worse =
        format!(r"(?:loses|is\s+{ADVERBS}(?:the\s+)?(?:worse|worst|weaker|poorer|inferior|loser){one})");
    let better = format!(r"(?:wins|is\s+{ADVERBS}(?:{BETTER}|(?:the\s+)?stronger){one})");
    let beats = r"(?:beats|outperforms|defeats|surpasses|outdoes|wins\s+(?:over|against)|is\s+preferred\s+(?:over|to))";
    let first = format!(r"(?:the\s+)?(?:(?<first>first|former)|(?<second>second|latter)){one}");
    pattern(&format!(
        r"(?i)^\s*(?:overall,?\s+|I\s+(?:think|believe|find)\s+(?:that\s+)?)?(?:{name}(?<w>[ab12])\s+{ADVERBS}{beats}\s+{name}(?<l>[ab12])|{name}(?<winner>[ab12])\s+{ADVERBS}{better}(?:\s+(?:to|than)\s+{name}[ab12])?|{name}(?<loser>[ab12])\s+{ADVERBS}(?:{worse}|is\s+not\s+as\s+good\s+as\s+{name}[ab12])|{first}\s+{ADVERBS}(?:(?<win>{better})|{worse})|(?:回答|答案|助手|选项|助理)?\s*(?<cjk>[ab])\s*(?:更好|更优|更佳|较好|較好|胜出?|勝出?))[\s.!。]*$"
    ))
});
/// A denied tie before the verdict.
static NO_TIE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)^\s*(?:this|it)(?:\s+is\s+not|\s+isn['’]t|['’]s\s+not)\s+an?\s+(?:tie|draw)\s*[;,.:–—-]\s*")
});
/// A sentence that discusses a verdict without giving it.
static UNDECIDED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b(?:neither|nor|whether|if|both|not|assistant \([ab]\) (?:argues|claims|states|thinks|says))\b|\b(?:hard|difficult|impossible|wrong|unfair|premature|tempting)\s+to\b|\b(?:some|others?|many|one|people|you|users?|they|he|she|critics?|readers?|someone|anyone)(?:\s+\w+)?\s+(?:would|might|may|could|can|will|say|says|argue|argues|think|thinks|claim|claims|prefer|feel|feels|believe|believes)\b|\b(?:might|may|could|perhaps|maybe|possibly|assume|suppose|imagine|pretend|wonder|doubt|almost|nearly)\b[^,;]*$|\b(?:claims|claimed|argues|argued|thinks|thought|says|said|believes|believed|insists|states|wants)\b[^,;]*$",
    )
});

/// Words after `better` that change its meaning.
static NO_VERDICT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)^\s+(?:known|off|understood|described|written|worded|phrased|structured|organi[sz]ed|formatted|left|read|avoided|than\s+(?:nothing|average|expected|usual|before|none))\b|^\s*\?",
    )
});
/// A first line that continues with the other answer.
static OPENING: LazyLock<Regex> = LazyLock::new(|| pattern(&format!(r"(?i)^{ANSWER}\s*{NAME}\s+\(")));
static CONCLUSION: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)^\s*(?:therefore|thus|so|hence|overall|finally|ultimately|in conclusion|in summary|to conclude)\b",
    )
});

/// More sentences that look like a verdict than any judge writes. Limits the time, since each is examined with its
/// context.
const MAX_SENTENCES: usize = 100;

/// Keys of the winner in JSON.
const KEYS: [&str; 12] = [
    "winner",
    "verdict",
    "better",
    "preferred",
    "preference",
    "choice",
    "decision",
    "final_verdict",
    "better_response",
    "better_answer",
    "preferred_response",
    "preferred_answer",
];

/// Reads the winner that `text` names.
///
/// # Errors
/// Why it is left unread.
pub fn read_winner(text: &str) -> Result<Winner, Unread> {
    let text = plain(text)?;
    let text = NO_TIE.replace(&text, "").into_owned();
    let brackets = all(&BRACKETS, &text);
    if !brackets.is_empty() {
        return settled(brackets, &text, LastWord::OnItsLine);
    }
    let tagged: Vec<Claim<Winner>> = TAG
        .captures_iter(&text)
        .take(MAX_VERDICTS + 1)
        .filter_map(|tag| {
            let value = line_winner(&tag["inside"])?;
            let (start, end) = (tag.get_match().start(), tag.get_match().end());
            Some(Claim { value, start, core: start, end })
        })
        .collect();
    if !tagged.is_empty() {
        return settled(tagged, &text, LastWord::AfterQuotations);
    }
    let entries = json::entries(&text, &KEYS);
    if !entries.is_empty() {
        let winners: Option<Vec<_>> = entries.into_iter().map(from_json).collect();
        return settled(winners.ok_or(Unread::NoVerdict)?, &text, LastWord::AfterQuotations);
    }
    let boxed = all(&BOXED, &text).into_iter().filter(|claim| !is_choice(&text, claim)).collect();
    for claims in [boxed, all(&HEADING, &text), all(&INLINE, &text)] {
        if !claims.is_empty() {
            return settled(claims, &text, LastWord::OnItsLine);
        }
    }
    if EVEN.is_match(&text) {
        return Ok(Winner::Tie);
    }
    if let Some(winner) = WHOLE.captures(&text).and_then(|found| whole(&found)) {
        return Ok(winner);
    }
    if text.trim_end().ends_with('?') {
        return Err(Unread::NoVerdict);
    }
    let lines: Vec<&str> = text.lines().filter(|line| !is_blank(line)).collect();
    let (Some(first), Some(last)) = (lines.first(), lines.last()) else { return Err(Unread::Empty) };
    let sentences = sentences(&text).ok_or(Unread::Contradiction)?;
    let last_sentence = last_sentence(&text);
    // One sentence may call each answer better in some respect.
    let differ = |is_there: &dyn Fn(usize) -> bool| {
        let mut there = sentences.iter().filter(|(place, _)| is_there(*place));
        there
            .next()
            .is_some_and(|(place, first)| there.any(|(other, winner)| place == other && winner != first))
    };
    let at = |is_there: &dyn Fn(usize) -> bool| {
        sentences.iter().rev().find(|(place, _)| is_there(*place)).map(|(_, winner)| *winner)
    };
    if differ(&|place| place >= last_sentence) {
        return Err(Unread::Contradiction);
    }
    let own_line = |line: &str| {
        let start = line.as_ptr().addr() - text.as_ptr().addr();
        let core = start + line.find(char::is_alphanumeric).unwrap_or(0);
        line_winner(line).filter(|_| is_own(&text, core, start + line.len()))
    };
    let opening = own_line(first)
        .or_else(|| OPENING.captures(first).and_then(|found| named(&found["w"])))
        .or_else(|| at(&|place| place == 0));
    let concluded = || THEREFORE.captures(&text[last_sentence..]).and_then(|found| named(&found["w"]));
    let closing = own_line(last).or_else(concluded).or_else(|| at(&|place| place >= last_sentence));
    let opening = opening.filter(|_| closing.is_some() || !is_changed(&text, 0, first.len()));
    match (opening, closing) {
        // A conclusion takes precedence over the first line.
        (Some(opening), Some(closing))
            if opening != closing && !CONCLUSION.is_match(&text[last_sentence..]) =>
        {
            Err(Unread::Contradiction)
        }
        (_, Some(winner)) | (Some(winner), None) => Ok(winner),
        (None, None) => agreed(&sentences.iter().map(|(_, winner)| *winner).collect::<Vec<_>>()),
    }
}

/// Whether the content of a box is the answer to a multiple-choice question, or a number.
fn is_choice(text: &str, claim: &Claim<Winner>) -> bool {
    static CHOICE: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r"(?i)\b(?:correct|right|closest|matching|true)\s+\w+|\boptions?\b|(?:^|[^\w]|\b(?:the|so|thus|therefore)\s+)answer\s+is\b|=",
        )
    });
    let is_number = text[claim.core..].starts_with(|c: char| c.is_ascii_digit())
        && !text[..claim.core].trim_end().ends_with(char::is_alphabetic);
    let before = text[..claim.start].trim_end_matches(|c: char| !c.is_alphanumeric() && c != '=');
    is_number || CHOICE.is_match(&before[sentence_start(before, before.len())..])
}

fn settled(claims: Vec<Claim<Winner>>, text: &str, last_word: LastWord) -> Result<Winner, Unread> {
    settle(claims, text, last_word, |one, other| one == other)
}

fn all(form: &Regex, text: &str) -> Vec<Claim<Winner>> {
    let claim = |found: Captures<'_>| {
        let whole = found.get_match();
        let is_mark = |c: char| !c.is_alphanumeric() && c != '[' && c != '\\';
        let start = whole.end() - whole.as_str().trim_start_matches(is_mark).len();
        let end = whole.start() + whole.as_str().trim_end().len();
        let core = found.name("w").or_else(|| found.name("l")).map_or(start, |name| name.start());
        Some(Claim { value: winner(&found)?, start, core, end })
    };
    form.captures_iter(text).take(MAX_VERDICTS + 1).filter_map(claim).collect()
}

/// A winner found by one of the forms.
fn winner(found: &Captures<'_>) -> Option<Winner> {
    let part = |name| found.name(name).map(|part| part.as_str());
    match (part("w"), part("l"), part("op"), part("r")) {
        (Some(name), ..) => named(name),
        (None, Some(left), Some(op), Some(right)) if !left.eq_ignore_ascii_case(right) => match op {
            "=" | "~" => Some(Winner::Tie),
            op if op.starts_with('>') => named(left),
            _ => named(right),
        },
        _ => part("tie").map(|_| Winner::Tie),
    }
}

/// The winner in a text that is one sentence.
fn whole(found: &Captures<'_>) -> Option<Winner> {
    let part = |name| found.name(name).map(|part| part.as_str());
    if let Some(name) = part("w").zip(part("l")).filter(|(winner, loser)| !winner.eq_ignore_ascii_case(loser))
    {
        return named(name.0);
    }
    let other = |winner: Winner| if winner == Winner::A { Winner::B } else { Winner::A };
    match (part("loser"), part("cjk").or_else(|| part("winner"))) {
        (Some(loser), _) => return named(loser).map(other),
        (None, Some(name)) => return named(name),
        (None, None) => {}
    }
    let ordinal = part("first").map(|_| Winner::A).or_else(|| part("second").map(|_| Winner::B))?;
    Some(if part("win").is_some() { ordinal } else { other(ordinal) })
}

/// Start of the last sentence.
fn last_sentence(text: &str) -> usize {
    text.trim_end_matches(['.', '!', ' ', '\n']).rfind(['.', '\n', '!']).map_or(0, |end| end + 1)
}

/// Positions and winners of sentences with a verdict; none if there are too many.
fn sentences(text: &str) -> Option<Vec<(usize, Winner)>> {
    let mut verdicts = Vec::new();
    let mut left = MAX_SENTENCES;
    let named_by = |form: &'static Regex| form.captures_iter(text).map(move |found| (form, found));
    for (form, found) in named_by(&SENTENCE).chain(named_by(&BARE)).chain(named_by(&CHOICE)) {
        left = left.checked_sub(1)?;
        let (start, end) = (found.get_match().start(), found.get_match().end());
        if NO_VERDICT.is_match(&text[end..]) {
            continue;
        }
        let near = text.floor_char_boundary(start.saturating_sub(NEAR_BYTES));
        let sentence = text[near..start].rfind(['.', '\n', '!']).map_or(near, |end| near + end + 1);
        let name = found.name("w").or_else(|| found.name("w2"));
        let is_part_of_name = !std::ptr::eq(form, &*CHOICE)
            && name.is_some_and(|name| is_part_of_name(&text[sentence..name.start()]));
        let clause = text[sentence..start].rfind(" but").map_or(sentence, |but| sentence + but);
        if UNDECIDED.is_match(&text[clause..start]) || is_part_of_name {
            continue;
        }
        let place = sentence + text[sentence..].len() - text[sentence..].trim_start().len();
        let value = name.map_or_else(|| winner(&found), |name| named(name.as_str()));
        verdicts.extend(
            value.filter(|_| is_own(text, start, found.get_match().end())).map(|winner| (place, winner)),
        );
    }
    for found in WORSE.captures_iter(text).filter(|found| !found["l"].eq_ignore_ascii_case(&found["w"])) {
        let place = found.get_match().end()
            - found.get_match().as_str().trim_start_matches(|c: char| !c.is_alphanumeric()).len();
        left = left.checked_sub(1)?;
        verdicts.extend(named(&found["w"]).map(|winner| (place, winner)));
    }
    verdicts.sort_by_key(|(place, _)| *place);
    Some(verdicts)
}

/// Whether a letter is part of a name, such as `Vitamin A` or `Plan B`: it belongs to the word before it, unless that
/// starts a clause.
fn is_part_of_name(before: &str) -> bool {
    static CLAUSE: LazyLock<Regex> = LazyLock::new(|| {
        pattern(&format!(
            r"(?i)(?:^|[^\w\s(]|\b(?:{ANSWER}s?|that|and|but|so|think|believe|say|find|therefore|thus|hence|overall|however|while|because|though|since|then|is|here))[\s(]*$"
        ))
    });
    !CLAUSE.is_match(before)
}

fn line_winner(line: &str) -> Option<Winner> {
    winner(&LINE.captures(line)?)
}

fn from_json(entry: Claim<Entry>) -> Option<Claim<Winner>> {
    let Claim { value: Entry { value, is_cut: _ }, start, core, end } = entry;
    let value = match value {
        Value::String(text) if text.trim().eq_ignore_ascii_case("c") => Winner::Tie,
        Value::String(text) => line_winner(&text)?,
        Value::Number(number) => named(&number.to_string())?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    Some(Claim { value, start, core, end })
}

fn agreed(winners: &[Winner]) -> Result<Winner, Unread> {
    let first = winners.first().ok_or(Unread::NoVerdict)?;
    if winners.iter().all(|winner| winner == first) { Ok(*first) } else { Err(Unread::Contradiction) }
}

fn named(name: &str) -> Option<Winner> {
    match name {
        "a" | "A" | "1" => Some(Winner::A),
        "b" | "B" | "2" => Some(Winner::B),
        "c" | "C" => Some(Winner::Tie),
        name if name.eq_ignore_ascii_case("tie") || name.eq_ignore_ascii_case("draw") => Some(Winner::Tie),
        _ => None,
    }
}
