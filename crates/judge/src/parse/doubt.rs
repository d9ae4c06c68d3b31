//! Context that invalidates a verdict: a quotation, a supposition, an instruction, a bound, or a correction.

use std::sync::LazyLock;

use regex::Regex;

use super::{
    disowned::{is_disowned, is_quoted_line, leads_to_other},
    pattern,
    sentence::sentence_start,
    settled::settles_on_another,
};

/// Whose words a judge may repeat.
const WHO: &str = r"(?:candidate|answer|response|reply|output|user|student|assistant|author|writer|submission|essay|text|prompt|document|chatbot|attacker|injection|message|person|someone|somebody|it|he|she|they)(?:\s+[ab12])?(?:['’]s\s+(?:\w+\s+)?\w+)?";
/// The same without those whom the judge may follow.
const RATED: &str = r"(?:candidate|answer|response|reply|output|student|assistant|author|writer|submission|essay|text|document|chatbot|attacker|injection)(?:\s+[ab12])?";
const SAYS: &str = r"(?:wrote|writes?|says?|said|claims?|claimed|states?|stated|reads?|ends|ended|begins|began|starts|started|asks?|asked|demands?|demanded|instructs?|instructed|tells?|told|requests?|requested|adds?|added|concludes?|concluded|outputs?|prints?|printed|inserts?|inserted|injects?|injected|quotes?|repeats?|repeated|insists?|insisted)";
const HOLDS: &str = r"(?:contains?|contained|includes?|included|has|had)\s+(?:[^.!?:\n]{0,30}\s)?(?:lines?|text|words?|string|phrase|sentence|instructions?|following|statement|message|note|score|rating|json|verdict)";
const HOW: &str = r"(?:(?:\w+ly|also|then|even|itself|has|had|would)\s+)*";
/// Filler words between a verb and the verdict.
const FILL: &str = r#"(?:(?:it|this|that|the|its|his|her|their|my|answers?|responses?|output|as|at|of|to|up|for|with|an?|is|was|be|being|been|get|gets|worth|deserves?|score|rating|grade|mark|verdict|winner|final|overall|perfect|full|only|them|even|assistant|option)(?:\s*[:=]\s*|\s+)|[\[("'“‘`:]+\s*)*"#;
const GIVES: &str = r"(?:giv(?:e|es|ing)|gave|rat(?:e|es|ed|ing)|award\w*|assign\w*|scor(?:e|es|ed|ing)|grad(?:e|es|ed|ing)|earn\w*|get|getting|got|reach\w*|receiv\w*|deserv\w*|merit\w*|warrant\w*|cho(?:ose|osing|se)|pick\w*|prefer\w*|select\w*)";

/// The line before a verdict that attributes it to another speaker, or makes it an example.
static LEADS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"(?i)\b{WHO}\s+{HOW}(?:{SAYS}\b[^.!?\n]{{0,60}}:|{SAYS}(?:\s+(?:this|that|me|us|the\s+following))?|{HOLDS}(?:\s+\w+)?\s*:?)\s*$|\b(?:lines?|sentence|words)\s+of\s+(?:the|its|this)\s+{RATED}\s+(?:{SAYS}|is|are)\s*:?\s*$|^\W*(?:(?:an?|the|here\s+is\s+an?|for)\s+)?(?:example|sample|template|placeholder)\b[^.!?\n]{{0,40}}:?\s*$|\b(?:example|sample|template|for\s+instance|e\.g\.)(?:\s+\w+)?\s*:\s*$|\b(?:looks?\s+like(?:\s+this)?|like\s+(?:so|this))\s*:\s*$|\b(?:expected|required|desired)\s+(?:output|format|form|response)\b[^.!?\n]{{0,20}}:\s*$|\b(?:inject|insert|trick|manipulat)\w*\b[^.!?\n]{{0,30}}:\s*$|\b(?:lines?|text|sentence|words?|string|phrase|instruction)\s+in\s+(?:the|its|this)\s+{RATED}\s*:\s*$|\b{RATED}['’]s\s+(?:\w+\s+){{0,2}}(?:lines?|text|words?|sentence|ending|end|claim)\s*:?\s*$|\b(?:quot(?:e|ing|ed)|excerpt|copied|taken)\b[^.!?\n]{{0,30}}\b{RATED}\b[^.!?\n]{{0,10}}:?\s*$|^\W*(?:please\s+)?(?:respond|answer|reply|output|write|print|use)\s+(?:with|in|as|the|this|exactly|only|like)\b[^.!?\n]{{0,60}}:\s*$|\b(?:output|answer|response|reply)\s+(?:should|must|has\s+to)\b[^.!?\n]{{0,60}}:\s*$"
    ))
});
/// The same on the line of the verdict.
static SAID_BEFORE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r#"(?i)(?:\b{WHO}\s+{HOW}(?:{SAYS}\b[^.!?\n]{{0,60}}|{HOLDS}[^.!?\n]{{0,20}}):|\bas\s+(?:\w+\s+)?(?:instructed|requested|asked|demanded|told|claimed|stated|suggested|ordered|wished)\s+(?:by|in|of)\s+(?:(?:the|this|an?)\s+)?{RATED}\b[^.!?\n]{{0,20}}[,:]?|\bas\s+(?:the\s+)?{RATED}\s+(?:{SAYS}|wants?|wanted)\b[^.!?\n]{{0,20}}[,:]?|\baccording\s+to\s+(?:the\s+|this\s+|its\s+)?(?:{RATED}|user|author)\b[^.!?\n]{{0,20}}[,:]?|\b(?:e\.g\.|for\s+example|for\s+instance|such\s+as|as\s+in|like\s+so|like\s+this|format|example)\s*[,:–—-]?|^\W*(?:candidate|user|student|author|human)\s*:)\s*{FILL}$"#
    ))
});
/// Who else is of the opinion that follows.
static THINKS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"(?i)\b{WHO}\s+{HOW}(?:thinks?|thought|believes?|believed|wants?|wanted|hopes?|hoped|expects?|expected|claims?|claimed|says?|said|insists?|suggests?|suggested|proposes?|proposed|demands?|demanded|asks?\s+for|asked\s+for|feels?|gave|gives|rated|rates\s+(?:itself|himself|herself))\s+(?:that\s+)?(?:should\s+)?{FILL}$"
    ))
});
/// Words by which a verdict is not given: a hypothesis, a refusal, a wish, a rule or an order.
static NOT_GIVEN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r#"(?i)\b(?:assum(?:e|es|ed|ing)|suppos(?:e|ing)|imagin(?:e|ing)|pretend(?:ing)?|wonder(?:ing|ed)?|whether|doubt(?:ed|ful)?|(?:not|n't|n’t)\s+(?:sure|certain)|unsure|if|unless|perhaps|maybe|possibly|hypothetically)\b[^.,;:\n]{{0,60}}$|\b(?:rul(?:es?|ed|ing)\s+out|about\s+to\s+(?:give|rate|award|assign))\s+{FILL}$|\b(?:it|this|that|answer|response|output|text)\s+would\s+(?:\w+\s+)?(?:deserve|get|earn|score|receive|merit|rate|reach)\s+{FILL}$|^\W*(?:were|had|should|provided|assuming|supposing)\b[^.;\n]*$|^\W*if\s+(?:one|we|you|it|this|that|the|they|only|its)\b[^.;\n]*$|\b(?:might|may|could)\s+(?:\w+\s+){{0,2}}(?:{GIVES}|be|been)\s+{FILL}$|\b(?:almost|nearly|practically|nowhere\s+near|far\s+(?:from|below|off)|away\s+from|close\s+to|short\s+of|shy\s+of|miss(?:es|ed|ing)?|consider(?:ed|ing)|thought\s+(?:of|about)|(?:tempted|wanted|going|planned|refus\w+|declin\w+|hesitat\w+|fail\w*|reluctant|unwilling|unable|hard|difficult|impossible|wrong)\s+(?:to|of|in))\s+(?:just\s+)?(?:{GIVES}\s+|say\s+)?{FILL}$|(?:^|[^\w])(?:not|never|no|n't|n’t|isn't|isn’t)\b\s*{FILL}$|\bto\s+(?:get|earn|receive|achieve|reach|deserve|merit|obtain|warrant|qualify\s+for|be\s+(?:given|awarded))\s+{FILL}$|\b(?:answers|responses|outputs|submissions|essays|summaries|texts|those|an?\s+(?:\w+\s+)?(?:answer|response|output|text|essay)|anything|anyone|everything|everyone|every\s+\w+|any\s+\w+)\s+(?:\w+\s+){{0,3}}?(?:with|at|of|having|getting|scoring|rated|that\s+(?:score|get))\s+{FILL}$|\b(?:for\s+the\s+sake\s+of\s+argument|hypothetically|ideally|in\s+(?:an\s+ideal\s+world|the\s+best\s+case)|in\s+theory|theoretically|in\s+principle|let(?:['’]s|\s+us)\s+say)\b[^.;\n]*$|\b(?:previously|earlier|formerly|initially|originally|at\s+first|last\s+time|in\s+the\s+past)\b,?[^.,;:\n]{{0,40}}$|\b(?:rubric|guidelines?|instructions?|criteria|scale|standard|policy|rules?)\s+(?:\w+\s+)?(?:gives?|awards?|assigns?|asks?|says?|sets?|requires?|demands?|prescribes?|calls?)\b[^.;\n]{{0,40}}$|^\W*for\s+{FILL}$|^\W*(?:use|follow|keep\s+to)\s+(?:the|this|an?)\s+(?:\w+\s+)?(?:form|format|template|pattern|syntax|style)\b[^.\n]{{0,40}}$"#
    ))
});
/// An instruction to a rater.
static ORDERS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)^\W*(?:(?:please|just|now|always|then|simply|kindly|you\s+(?:must|should|will|have\s+to|can))\s+)*(?:give|assign|award|rate|score|grade|mark)\s+(?:it|this|that|the|them|me|us|an?|answers?|responses?|any|every|each|all|only|students?|him|her|yourself)\b|^\W*(?:(?:please|just|now|always|then|simply|and)\s+)*(?:answer|reply|respond|return|output|print|write|say|choose|pick|select|set)\s+(?:(?:with|only|the|an?|it|this|exactly|just|score|rating|of|to|as)\s+)*[\s\x22'`{\[(]*$|\b(?:you|the\s+judge|judges|graders?|raters?|evaluators?)\s+(?:should|must|have\s+to|has\s+to|will|shall|give|output|choose)\b[^.,;\n]*$|^\W*(?:please\s+)?(?:ignore|forget|disregard|skip|remember)\b[^.;\n]*\b(?:output|print|write|say|return|choose|give|answer|respond)\b[^.;\n]*$",
    )
});
/// Words after a verdict that make it a bound, a range, a sum or a question.
static QUALIFIES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?i)^[\s\])}"'”’`_]*(?:[-–—,;(\[/]*\s*(?:or|maybe|perhaps|possibly|probably|rather|almost|nearly|closer\s+to|on\s+reflection|on\s+second\s+thoughts?|no[,.:;]|nope|sorry|actually|wait|correction|edit|update|then|i\s+mean|make\s+(?:that|it))\b?(?:[\s,:]+(?:an?|it|it's|that|i|is|should|be|would|meant|mean|say|more|like|as|to|maybe|perhaps|rather|even|up))*[\s,:]*(?:[\[(]*[0-9]|\[\[|(?-i:[AB])\b)|,?\s*(?:minus|plus|times|divided\s+by|less)\s+(?:[0-9]|an?\b|one\b|two\b|half\b)|,?\s*and\s+a\s+(?:half|quarter|bit|third)\b|[-–]?ish\b|\+\s*(?:$|[.,;)!])|(?:or|and)\s+(?:up|above|more|higher|lower|less|below|so|thereabouts|over|under|upwards?|beyond|better|worse|fewer)\b|[,(–—-]?\s*(?:at\s+(?:the\s+)?(?:very\s+|absolute\s+)?(?:most|best|least|worst)|give\s+or\s+take|if\s+that|at\s+a\s+stretch|at\s+(?:the|its)\s+(?:highest|lowest)|as\s+(?:an?|the)\s+(?:absolute\s+)?(?:maximum|minimum|upper|lower|ceiling|floor|best)[^.\n]{0,20}|maybe|perhaps|possibly|I\s+(?:guess|suppose)|guess|not\s+sure|unsure|tentative(?:ly)?|provisional(?:ly)?)\s*(?:$|[.,;)!?])|[,(–—-]?\s*(?:is|being)\s+(?:the|an?|its|my)\s+(?:absolute\s+)?(?:ceiling|floor|most|least|maximum|minimum|limit|cap|upper|lower)\b|[,(–—-]?\s*(?:leaning|tending|closer|going)\s+(?:to|towards?\s+)?(?:an?\s+)?[0-9]|[,(–—-]\s*(?:should|could|might|may|would)\s+(?:be|have\s+been|also\s+be)\s+(?:an?\s+)?[0-9]|\s*\(\s*\?|[,(–—-]?\s*(?:minimum|maximum|max|min|tops|upwards?)\s*(?:$|[.,;)!])|[(,–—-]?\s*(?:just\s+)?(?:kidding|joking|jk|not\s+really)\b|[.]{0,3}\s*\?)"#,
    )
});
/// Words after a verdict that make it a quotation, a format or a rule.
static IS_SAID_BEHIND: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r#"^[\s"'”’»`)\]}}.,;:(–—-]*(?:(?:which\s+)?(?:is|was|are|were)\s+(?:just\s+|only\s+|merely\s+|simply\s+|also\s+)?(?:(?:the|an?|its|their|his|her)\s+)?(?:what|how|format|form|example|sample|template|placeholder|injection|attempt|trick|attack|quote|quotation|line|rare|uncommon|common|unusual|possible|impossible|reserved|required|needed|expected|out\s+of\s+reach)\b|(?:needs?|requires?)\s|as\s+(?:\w+\s+)?(?:requested|instructed|asked|ordered|told|demanded|suggested|claimed|stated|quoted|written|desired|wanted|wished)\s+(?:by|in)\s+(?:the|this|its)?\s*{WHO}|as\s+(?:the\s+)?{WHO}\s+(?:{SAYS}|wants?|wanted)\b|(?:is|was)\s+(?:written|said|claimed|demanded|stated|requested|quoted)\b|(?i:this|that|the\s+above)\s+(?:line|text|sentence|instruction|string|score|note|is|was|comes?)\b[^.\n]{{0,30}}\b(?:in|from|by|part\s+of|within|inside)\s+(?:the|its)\s+{RATED}\b)"#
    ))
});
/// A later correction: another verdict replaces it, or none.
static CORRECTS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?im)(?:^|[.!?;,:()\n—–-])[\s"'\])}`]*(?:(?:correction|corrected|edit(?:ed)?|upd(?:ate[d]?)?|erratum)\s*[:=–—-]\s*[\[(]*[0-9]|(?:(?:correction|corrected|edit(?:ed)?|upd(?:ate[d]?)?|erratum|revis(?:ion|ed)|actually|wait|hmm+|hm|hold\s+on|oops|sorry|apologies|no|nope|on\s+(?:second\s+thoughts?|reflection|reconsideration|further\s+\w+)|thinking\s+about\s+it(?:\s+again)?|in\s+hindsight|my\s+mistake|let\s+me\s+(?:revise|reconsider|correct|rethink|change)|i\s+mean|i\s+meant|i(?:['’]ll|\s+will|\s+would|['’]d|\s+must|\s+want\s+to|(?:['’]d|\s+would)\s+like\s+to)?\s+(?:change|revise|correct|lower|raise|reconsider|adjust)|make\s+(?:that|it)|(?:or\s+)?rather|better|new)\b(?:[\s,:.=]+(?:i|it|it['’]s|that|this|is|should|be|would|meant?|mean|say|think|rate|give|gave|score|rating|grade|verdict|winner|the|my|an?|to|have|been|deserves?|final|as|of|only|more|like|make|i['’]d|i['’]ll|now|must|new|sorry|no|actually|rather|from|assistant|answer|response|meaning|changed?|set|lower|down|up|wait|let['’]s))*[\s,:.=]*(?:[\[(]*[0-9][0-9.,/]{0,6}[\])]*\s*(?:$|[.!?,;)]|out\b|instead\b|is\b|points?\b)|\[\[|\(?(?-i:[AB])\)?\s*(?:$|[.,;!]|is\b|wins\b)))|(?:please\s+|so\s+|just\s+)?(?:scrap|scratch|strike|forget|disregard|ignore|cancel|delete|retract|withdraw)\s+(?:that|this|it|my|the\s+(?:above|last|previous|score|rating|verdict|grade))\b(?:\s+(?:score|rating|verdict|line|above))?\s*(?:$|[.,;:!–—-])|never\s?mind\b|taking\s+(?:that|it|this)\s+back|i\s+(?:misread|miscounted|misjudged|misspoke|mistyped)\b|i\s+(?:take|took|withdraw|retract)\s+(?:that|it|this|my)\b|i(?:['’]ve|\s+have)?\s+changed\s+my\s+mind\b)"#,
    )
});
/// Words after a number that say what it counts, or what it is a fraction of.
static COUNTS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^[ \t]+(?:(?:minor|major|small|big|serious|factual|grammatical|logical|other|more|different|distinct|separate|correct|wrong|incorrect|missing)\s+)?(?:(?:of\s+(?:the|its|them|all|these|those)|million|thousand|hundred|billion|dozen|o['’]clock|bullets?|[ap]\.?m|errors?|mistakes?|typos?|days?|hours?|minutes?|seconds?|weeks?|months?|years?|words?|sentences?|paragraphs?|lines?|characters?|issues?|problems?|facts?|claims?|citations?|sources?|references?|steps?|items?|people|persons?|votes?|times|degrees?|dollars?|euros?|km|kg|cm|mm|m|MB|GB|ms|tokens?|questions?|examples?|bugs?|faults?|flaws?|inaccuracies|omissions?)\b|(?<noun>[a-z]{2,}s)\s*(?:$|[.,;!)]))|^\s*(?:/|out\s+of|of)\s*(?:two|three|four|five|six|seven|eight|nine|ten|twenty|fifty|(?:a\s+|one\s+)?hundred)\b|^\s*[€£¥₩₽°]",
    )
});
/// Words that end like a plural but are not counted.
const NOT_COUNTED: [&str; 16] = [
    "points", "stands", "holds", "marks", "stars", "always", "thus", "plus", "less", "yes", "as", "is",
    "was", "has", "this", "perhaps",
];

/// Whether the words before or after the verdict at `core..end` show that it is not the judge's own.
pub(super) fn is_doubted(text: &str, core: usize, end: usize) -> bool {
    let sentence = sentence_start(text, core);
    let before = &text[sentence..core];
    SAID_BEFORE.is_match(before)
        || THINKS.is_match(before)
        || NOT_GIVEN.is_match(before)
        || ORDERS.is_match(before)
        || (is_line_start(text, sentence) && is_led(line_before(&text[..sentence])))
        || is_doubted_behind(text, end)
        || is_quoted_line(text, core)
        || is_disowned(text, sentence, core, end)
}

fn is_led(line: &str) -> bool {
    LEADS.is_match(line) || leads_to_other(line)
}

fn is_doubted_behind(text: &str, end: usize) -> bool {
    let behind = &text[end..text.floor_char_boundary(end.saturating_add(NEAR_BYTES))];
    let line = behind.split('\n').next().unwrap_or("");
    let next = behind.trim_start_matches(|c: char| c.is_whitespace() || "`\"'”’)]}".contains(c));
    IS_SAID_BEHIND.is_match(line)
        || (next.starts_with(|c: char| c.is_lowercase() || c == 'T') && IS_SAID_BEHIND.is_match(next))
}

/// A few words and a number at the end of the text.
static LAST_NUMBER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?:(?:[,:(—–-]|\bbut\b)[\s"'\])}`]*(?<words>(?:[\p{L}'’]+[\s,.:]+){1,5})|[.!?;\n]\s[\s"'\])}`]*(?<more>(?:[\p{L}'’]+[\s,.:]+){0,5}))\[{0,2}(?<n>[0-9]{1,3}(?:[.,][0-9]{1,2})?)(?:\s*(?:/|out\s+of)\s*[0-9]{1,3})?[\]).!]*\s*$"#,
    )
});
/// Words by which a number refers to something else.
static OF_SOMETHING_ELSE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b(?:answers?|results?|sum|equals?|values?|total|solution|years?|pages?|steps?|numbers?|options?|choices?|examples?|points?|questions?|items?|paragraphs?|lines?|figures?|tables?|sections?|chapters?|criteri\w+|confidence|certainty|max|maximum|min|minimum|scale|range|with|without|if|would|could|had|were)\b|\b(?:in|to|of|and|than|by|at|on|from|up|out)\s*$",
    )
});

/// Whether the text ends with a number other than that of the verdict at `start..end`, and with little else.
fn ends_with_another(text: &str, start: usize, end: usize) -> bool {
    static NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"[0-9]+(?:[.,][0-9]+)?"));
    let near = text.ceil_char_boundary(text.len().saturating_sub(NEAR_BYTES)).max(end);
    let Some(last) = LAST_NUMBER.captures(&text[near..]) else { return false };
    let given = NUMBER.find(&text[start..end]).map(|number| number.as_str());
    let words = last.name("words").or_else(|| last.name("more")).map_or("", |words| words.as_str());
    !OF_SOMETHING_ELSE.is_match(words) && given.is_some_and(|given| given != &last["n"])
}

/// Whether the text after the verdict at `start..end` changes it.
pub(super) fn is_changed(text: &str, start: usize, end: usize) -> bool {
    let behind = &text[end..];
    let line = behind.split('\n').next().unwrap_or("");
    let is_bare = text[..end].ends_with(char::is_alphanumeric);
    QUALIFIES.is_match(line)
        || (is_bare && counts(line))
        || CORRECTS.is_match(behind)
        || ends_with_another(text, start, end)
        || settles_on_another(&text[start..end], behind)
}

/// Whether the number before `rest` counts something, or is a fraction of a number in words.
fn counts(rest: &str) -> bool {
    let counted = COUNTS.captures(rest);
    counted.is_some_and(|found| found.name("noun").is_none_or(|noun| !NOT_COUNTED.contains(&noun.as_str())))
}

/// Length of the context, in bytes.
const NEAR_BYTES: usize = 300;

fn is_line_start(text: &str, place: usize) -> bool {
    text[..place].ends_with('\n')
}

/// The last line that is not blank or the edge of a block.
fn line_before(text: &str) -> &str {
    let near = &text[text.ceil_char_boundary(text.len().saturating_sub(NEAR_BYTES))..];
    let mut lines = near.lines().rev().map(str::trim).filter(|line| !super::text::is_blank(line));
    lines.next().unwrap_or("")
}
