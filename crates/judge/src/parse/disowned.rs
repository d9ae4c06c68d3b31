//! Verdicts that are not the judge's: of other judges, of other answers, in examples and quotations; and numbers that are
//! amounts instead of scores.

use std::sync::LazyLock;

use regex::Regex;

use super::{pattern, sentence::NEAR_BYTES};

/// Other judges.
const JUDGE: &str = r"(?:(?:(?:previous|prior|earlier|other|another|first|second|third|last|former|human|peer|fellow|different|original|external)\s+(?:\w+\s+)?(?:judge|reviewer|rater|evaluator|grader|annotator|referee|expert|marker|assessor|critic|teacher|model)s?|colleagues?|(?:judge|reviewer|rater|evaluator|grader|annotator)\s*#?\s*(?:[0-9]{1,3}|(?-i:[A-Z]\b))|(?:gpt|chatgpt|claude|gemini|llama|mistral)[\w.-]{0,20}['’]s\s+(?:verdict|score|rating))\b(?:['’]s)?)";
/// What is judged, and its author.
const RATED: &str = r"(?:(?:candidate|answer|response|reply|output|student|assistant|author|writer|submission|essay|text|document|chatbot|attacker|user|prompt)(?:\s+[ab12])?(?:['’]s)?)";
/// The verdict or its line, in a later sentence.
const ABOVE: &str = r"(?:(?:(?:this|that|the)\s+)?(?:(?:above|first|last|previous|preceding|foregoing)\s+)?(?:line|score|rating|verdict|text|sentence|number|string|note|tag|object|block)(?:\s+above)?|the\s+(?:above|foregoing)|what\s+is\s+above)";
const MADE: &str = r"(?:written|inserted|injected|included|contained|found|quoted|copied|taken|added|placed|stated|put|pasted|planted)";
const SAYS: &str = r"(?:wrote|writes|said|says|claimed|claims|stated|states|inserted|inserts|injected|added|adds|ended|ends|began|begins|contained|contains|included|includes|has|had|demanded|demands|printed|prints)";

/// Words before a verdict on its line.
static BEFORE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"(?i)\b{JUDGE}[^.!?\n]{{0,60}}$|^\W*(?:(?:the|an?|my)\s+)?(?:previous|prior|earlier|former|old|outdated)\s+(?:\w+\s+)?(?:verdict|score|rating|grade|judge?ment|evaluation|assessment)s?\b[^.!?\n]{{0,40}}$|\b(?:of|for|to)\s+(?:the\s+|an?\s+)?(?:(?:previous|prior|earlier|other|another|reference|baseline|ideal|gold(?:en)?|model|competing|rival|original)\s+(?:answers?|responses?|outputs?|repl(?:y|ies)|submissions?|texts?|summar(?:y|ies)|translations?|solutions?)|reference|baseline|gold\s+standard)[_`]*\s*(?:[:=]|[-–—]\s|is\b)[^.!?\n]{{0,10}}$|[(\[](?:the\s+)?(?:previous|prior|earlier|other|another|reference|baseline)\b[^)\]\n]{{0,30}}[)\]][_`]*\s*(?:[:=]|[-–—]\s|is\b)[^.!?\n]{{0,10}}$"
    ))
});
static OWN_WORDS: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b(?:I|[Mm]y|[Ww]e|[Oo]ur)\b"));
/// The line before a verdict.
static LEADS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"(?i)\b{JUDGE}[^.!?\n]{{0,60}}:\W*$|^\W*(?:the\s+)?{JUDGE}\W*$|^\W*(?:(?:the|your|required|expected|desired|requested|given|correct)\s+)*(?:(?:output|response|answer|reply|verdict|score|result|evaluation|json|rating)\s+)?(?:format|template|schema|syntax|structure|pattern)\W*:\W*$|\b(?:for\s+example|for\s+instance|e\.g\.?|such\s+as|like\s+(?:this|so))\W*$"
    ))
});
/// Words behind a verdict on its line.
static BEHIND: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r#"(?i)^[\s"'”’)\]_`]*[,;(\[–—-]?\s*(?:which\s+)?(?:(?:is|was)\s+)?(?:(?:given|assigned|awarded|said|says|written|chosen|suggested|proposed|gave)\s+)?(?:from|by|according\s+to|says|said|of)?\s*(?:(?:the|an?|our|my)\s+)?{JUDGE}|^\s*(?:on|at|from|by)\s+(?:the\s+)?(?:amazon|google|yelp|imdb|tripadvisor|trustpilot|goodreads|steam|metacritic|rotten\s+tomatoes|ebay|airbnb|booking|app\s+store|play\s+store|(?:\w+\s+)?(?:customers|users|reviewers|readers|critics|guests|buyers))\b|^\s*[\[(]\s*(?:just\s+|only\s+|as\s+)?(?:(?:an?|the)\s+)?(?:example|sample|placeholder|format|template)\s*[\])]\W*$|^\s*[\[(]\s*(?:in|from|by)\s+the\s+{RATED}\s*[\])]"#
    ))
});
/// A site with reviews, behind a number of stars.
static SITE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\s*(?:on|at)\s+[A-Z]"));
/// Words by which the number before is an amount.
static AMOUNT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)^[ \t_`]*(?:points?\s+)?(?:penalty|deductions?|subtraction|away\s+from|from\s+(?:the\s+(?:top|maximum|best)|perfect\w*))\b|^[ \t_`]*(?:(?:points?|pts|marks?)\s+)?(?:(?:is|was|are|were|(?:has|have|had)\s+been|being|to\s+be)\s+)?(?:deducted|subtracted|removed|lost|docked|withheld|forfeited|off\b|taken\s+(?:off|away)|missing\b|too\s+(?:low|high|much|many|few|little|generous|harsh)\b|(?:short|shy)\s+of\b|(?:under|over|below|above|beneath)\s+(?:the\s+|its\s+|their\s+)?(?:\w+\s+)?(?:average|par|mean|median|maximum|minimum|max|best|norm|expectations?|standard|threshold|baseline|reference|limit)\b|(?:less|lower|higher|more|fewer|better|worse)\s+than\b)|^[ \t_`]*[,;(–—-]\s*(?:(?:which|that)\s+is\s+)?too\s+(?:low|high)\b",
    )
});
/// Words by which the score is not final.
static BEFORE_PENALTY: LazyLock<Regex> = LazyLock::new(|| {
    let number = r"(?:[0-9]+|an?|one|two|three|four|five|half|some|several|any|all|the)";
    pattern(&format!(
        r"(?i)^[\s\])}}_`]*[,;(–—-]?\s*(?:but\s+|and\s+)?pre-?penalty|^[\s\])}}_`]*[,;(–—-]?\s*(?:but\s+|and\s+)?(?:with|before|without|excluding|prior\s+to|minus|less|except\s+for|not\s+counting|ignoring)\s+(?:{number}[\s-]+)?(?:[\w-]+\s+){{0,2}}?(?:penalt(?:y|ies)|deductions?|deducting|subtract(?:ing|ions?)|points?\s+(?:off|deducted|subtracted|removed|lost|docked|taken\s+off))\b|^[\s\])}}_`]*[,;(–—-]?\s*(?:from|of)\s+which\b"
    ))
});
/// A later sentence by which the verdict is a quotation or an example.
static LATER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"(?im)(?:^|[.!?]\s)\W*(?:note\W+)?{ABOVE}\s+(?:is|was|comes?|came|stems?|stood|stands|appears?|appeared|belongs?|has\s+been)\s+(?:\w+ly\s+|just\s+|only\s+|not\s+mine\W+(?:but\s+)?|itself\s+)?(?:{MADE}\s+)?(?:(?:in|from|by|to|part\s+of|within|inside)\s+)?(?:the\s+|its\s+|an?\s+)?(?:\w+(?:['’]s)?\s+)?{RATED}(?:\W*$|\s+(?:text|itself|above|under|being|and|not|to|in|so|as|which)\b|[.,;:)])|\b(?:this|that|the)\s+(?:line|sentence|score|rating|verdict|tag|object)(?:\s+above)?\W+(?:(?:it|which|that)\s+(?:is|was)\s+)?(?:{MADE}\s+)?(?:in|from|by)\s+the\s+{RATED}\W*$|(?:^|[.!?]\s)\W*(?:the\s+|an?\s+)?{RATED}\s+(?:itself\s+)?{SAYS}\b[^.\n]{{0,20}}\b(?:the|this|that)\s+(?:line\s+above|above\s+line|line|above)\W*$|(?:^|[.!?]\s)\W*(?:{ABOVE}|this|that)\s+(?:is|was)\s+(?:\w+ly\s+|just\s+|only\s+)?(?:an?|the|my)?\s*(?:\w+\s+)?(?:example|placeholder|sample|template|format|illustration|demonstration|quotation|quote|injection)(?:\s+only)?\W*$|(?:^|[.!?]\s)\W*(?:{ABOVE}|this|that|it)\s+(?:(?:is|was)\s+not|isn['’]t|wasn['’]t)\s+(?:mine\b|my\s+(?:own\s+)?(?:score|rating|verdict|judge?ment|words?|line|choice|opinion)\b)"
    ))
});
/// The same directly behind the verdict, where `this` is the verdict.
static NEXT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"(?i)^\W*(?:(?:(?:this|that|it)\s+(?:is|was)|that['’]s)\s+what\s+the\s+{RATED}\s+{SAYS}\W*$|(?:the\s+)?end\s+of\s+(?:the\s+)?(?:\w+['’]s\s+)?{RATED}\W*$|(?:the\s+)?{RATED}\s+own\s+\w+\W*$|(?:just\s+|only\s+)?(?:(?:an?|the)\s+)?(?:example|sample|placeholder|format|template)\W*$|(?:(?:this|that|it)\s+(?:is|was|comes?|came|stood|appears?|appeared)|(?:that|it)['’]s)\s+(?:\w+ly\s+|just\s+|only\s+)?(?:{MADE}\s+)?(?:in|from|by|part\s+of|within|inside)\s+(?:the\s+|its\s+|an?\s+)?{RATED}(?:\W*$|\s+(?:text|itself)\b|[.,;:)])|{MADE}\s+(?:verbatim\s+)?(?:in|from|by|out\s+of)\s+(?:the\s+|its\s+|an?\s+)?{RATED}\W*$|(?:the\s+|an?\s+)?{RATED}\s+(?:itself\s+)?{SAYS}\s+(?:that|this|it|so)\W*$)"
    ))
});

/// Whether the verdict at `core..end`, whose sentence starts at `sentence`, is of another judge or answer, a quotation,
/// an example, or an amount.
pub(super) fn is_disowned(text: &str, sentence: usize, core: usize, end: usize) -> bool {
    let near = text.floor_char_boundary(end.saturating_add(NEAR_BYTES));
    let (before, behind) = (&text[sentence..core], &text[end..near]);
    let line = behind.split('\n').next().unwrap_or("");
    let is_amount = text[..end].ends_with(|c: char| c.is_alphanumeric()) && AMOUNT.is_match(line);
    let is_amount = is_amount || BEFORE_PENALTY.is_match(line);
    let has_stars = text[core..end].to_lowercase().ends_with("stars");
    is_amount
        || (BEFORE.is_match(before) && !OWN_WORDS.is_match(before))
        || BEHIND.is_match(line)
        || (has_stars && SITE.is_match(line))
        || is_disowned_later(behind)
}

/// Whether the line before a verdict attributes it to another judge, or makes it an example.
pub(super) fn leads_to_other(line: &str) -> bool {
    LEADS.is_match(line) && !OWN_WORDS.is_match(line)
}

/// Whether the line with the verdict at `core` is a quotation in a message.
pub(super) fn is_quoted_line(text: &str, core: usize) -> bool {
    let line = text[..core].rfind('\n').map_or(0, |newline| newline + 1);
    text[line..core].trim_start().starts_with('>')
}

fn is_disowned_later(behind: &str) -> bool {
    let next = behind.trim_start_matches(|c: char| c.is_whitespace() || "`\"'”’.)]}".contains(c));
    let is_next_line = behind[..behind.len() - next.len()].contains('\n');
    (is_next_line && NEXT.is_match(next.lines().next().unwrap_or(""))) || LATER.is_match(behind)
}
