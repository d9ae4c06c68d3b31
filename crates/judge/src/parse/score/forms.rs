//! The forms in which judges write a score.

use std::sync::LazyLock;

use regex::Regex;

use crate::parse::pattern;

const NUMBER: &str = r"(?<n>[-+]?(?:[0-9]{1,4}(?:[.,][0-9]{1,4})?|\.[0-9]{1,4}))";
const OUT_OF: &str = r"(?:_{0,3}\s*\(?\s*(?:(?:points?|pts|stars?|Punkte|puntos|点|分|점)\s+)?(?:/|(?:out\s+)?of\b|von\b|sur\b|de\b|sobre\b|su\b|из)\s*(?<of>[0-9]{1,4})\b)?";
const UNIT: &str = r"(?:\s*(?:points?\b|pts?\b|stars?\b|점|点|分|баллов|балла|балл|[⭐★🌟]))?";
const LABEL: &str = r"(?:rating|score|grade|점수|평점|총점|평가\s*점수|评分|总分|得分|分数|打分|評分|得點|評価|評点|スコア|点数|puntuaci[oó]n|valoraci[oó]n|avaliaç[aã]o|évaluation|appréciation|calificaci[oó]n|pontuaç[aã]o|note|nota|bewertung|punktzahl|punteggio|valutazione|beoordeling|оценка|рейтинг|балл|оцінка|ocena|puan|điểm(?:\s+số)?|skor|nilai|poäng|betyg|karakter|vurdering|arvosana|pisteet|punkte|gesamt(?:note|punktzahl|bewertung)|cijfer|voto|punti|βαθμολογία|βαθμός|σκορ|αξιολόγηση|hodnocení|hodnotenie|skóre|értékelés|pontszám|punctaj|scor|бали|оценк[аи]|得点|採点|分數|đánh\s+giá|คะแนน|स्कोर|अंक|रेटिंग|স্কোর|الدرجة|النتيجة|التقييم|امتیاز|نمره|ציון)";
/// Words before a label.
const WHOSE: &str = r"(?:(?:my|your|the|its|final|overall|total|numerical|numeric|최종|종합|총|总体|最终|综合|総合|gesamt|endg[uü]ltige|finale|globale|итоговая|общая|assigned|evaluation|judge(?:'s)?|oceny|końcowa|endelig|slutlig|nihai|genel|النهائية)\s*){0,4}";
/// Words after a label, in some languages.
const WHICH: &str = r"(?:\s+(?:final[ei]?|globale?|général|total|totale|complessiv[oa]|keseluruhan|akhir|finală|końcowa|النهائية|النهائي|الإجمالية|assigned|given))?";
const CONCLUDING: &str = r"(?:(?:therefore|thus|so|hence|accordingly|consequently|overall|finally|in\s+(?:conclusion|summary|total|short)|all\s+in\s+all|as\s+a\s+result)[,:]?\s+)?";
/// The subject of the score.
const OF_IT: &str = r"(?:\s+(?:of|for|to)\s+(?:(?:the|this|that|its)\s+)?(?:\w+\s+){0,2}?(?:answers?|responses?|outputs?|repl(?:y|ies)|submission|text|summary|translation|candidate|assistant|it|this)(?:'s\s+(?:answer|response|output|reply))?)?";
const DECORATION: &str = r"[\s#>_`\-•|$\[\p{So}]*";
/// The end of a line, or of the statement about the score.
const ENDS: &str = r#"[\s.!)\]}|_`"'$]*$"#;

fn second(form: &str) -> String {
    form.replace("<n>", "<n2>").replace("<of>", "<of2>")
}

pub(super) static BRACKETS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"(?i)\[\[\s*(?:{LABEL}\s*)?:?\s*\[?\s*{NUMBER}{OUT_OF}{UNIT}\s*\]{{2,3}}|\[\[\s*{LABEL}\s*\]?\]\s*:?\s*\[?\s*{NUMBER2}{OUT_OF2}{UNIT}\]*(?<rest>[^\n]*)",
        NUMBER2 = second(NUMBER),
        OUT_OF2 = second(OUT_OF),
    ))
});
pub(super) static RESULT: LazyLock<Regex> =
    LazyLock::new(|| pattern(&format!(r"(?i)\[result\]\s*:?\s*\(?\s*{NUMBER}{OUT_OF}(?<rest>[^\n]*)")));
/// A tag, its value or content, and its closing tag, if there is one.
pub(super) static TAG: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?i)<\s*(?<tag>[\p{L}_-]{1,30})(?:\s+(?:value\s*=\s*["'](?<value>[^"'<>\n]{1,20})["']\s*/?|[^<>\n]{0,60}))?>(?:\s*(?<inside>[^<>\n]{1,40}?)\s*(?<close></\s*(?<same>[\p{L}_-]{1,30})\s*>|$|\n))?"#,
    )
});
pub(super) static BOXED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"(?i)\\(?:boxed|fbox)\s*\{{\s*(?:{WHOSE}{LABEL}\s*[:=]?\s*)?{NUMBER}{OUT_OF}{UNIT}\s*\}}(?:\s*/\s*(?<of2>[0-9]{{1,4}})\b)?"
    ))
});
pub(super) static LABELLED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r#"(?im)^{DECORATION}{CONCLUDING}{WHOSE}(?<label>{LABEL}){WHICH}{OF_IT}[_`\]]*(?:\s*[(\[][^)\]\n]{{0,30}}[)\]])?[_`\]]*\s*(?:->|=>|[:=|\]→⇒≈]|[-–—]\s|\b(?:is|would\s+be|ist|est|es)\b\s*:?)\s*[_`\[("']*\s*{NUMBER}{OUT_OF}{UNIT}[_`\])"']*(?<rest>[^\n]*)"#
    ))
});
/// As [`LABELLED`] after other words on the line, at its end.
pub(super) static INLINE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r#"(?im)(?:[.!?;,:–—-]["'”’)\]]*\s+|[(|\]]\s*|[。！？；，：]|\b(?:so|thus|hence|therefore)\s+)(?-m:){CONCLUDING}{WHOSE}{LABEL}{OF_IT}[_`]*(?:\s*[(\[][^)\]\n]{{0,30}}[)\]])?\s*(?:[:=]|[-–—]\s|\bis\b\s*:?)\s*[_`\[(]*\s*{NUMBER}{OUT_OF}{UNIT}{ENDS}"#
    ))
});
/// A label on a line of its own, and a score on the next line.
pub(super) static HEADING: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"(?im)^{DECORATION}(?:[0-9]{{1,2}}[.)]\s*)?{WHOSE}{LABEL}{OF_IT}[_`\]]*(?:\s*[(\[][^)\]\n]{{0,30}}[)\]])?\s*:?[ \t_`|]*\n(?:[ \t|:=+-]*\n)*\s*[_`\[(|]*\s*{NUMBER}{OUT_OF}{UNIT}[ \t_`\]).|]*$"
    ))
});
/// A label without a separator before the score, which ends the line.
pub(super) static BARE_LABEL: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(r"(?im)^{DECORATION}{WHOSE}{LABEL}[_`]*\s+[_`\[(]*{NUMBER}{OUT_OF}{UNIT}{ENDS}"))
});
/// Words that name a verdict only if nothing else is said about it.
pub(super) static CONCLUSION: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"(?im)^{DECORATION}(?:my|the)?\s*(?:overall|(?:final\s+|overall\s+)?(?:verdict|judge?ment|assessment|evaluation|mark)|(?:final|overall)\s+(?:answer|result|impression|quality|decision)|(?:grand\s+)?total|final|points|평가|종합|总体|综合|総合|gesamt|insgesamt|итог|итого)[_`]*(?:\s*[(\[][^)\]\n]{{0,30}}[)\]])?\s*(?:[:=|]|\bis\b\s*:?)\s*[_`\[(]*\s*{NUMBER}{OUT_OF}{UNIT}{ENDS}"
    ))
});
/// The score of one part of the answer, or of the only aspect.
pub(super) static CRITERION: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"(?im)^{DECORATION}(?:the\s+)?(?:(?:relevance|relevancy|helpfulness|quality|accuracy|correctness|completeness|clarity|coherence|faithfulness|fluency|usefulness|groundedness|conciseness|truthfulness|safety|creativity|consistency|factuality|informativeness)(?:\s+(?:score|rating))?|(?:response|answer)\s+(?:score|rating|quality)|rated|marks)[_`]*(?:\s*[(\[][^)\]\n]{{0,30}}[)\]])?\s*(?:[:=|]|\bis\b\s*:?)\s*[_`\[(]*\s*{NUMBER}{OUT_OF}{UNIT}{ENDS}"
    ))
});
/// The number at the end of a line that rates one part.
pub(super) static CRITERION_VALUE: LazyLock<Regex> =
    LazyLock::new(|| pattern(&format!(r"(?m)[:=]\s*{NUMBER}(?:\s*/\s*[0-9]{{1,4}})?\s*$")));
/// A line with a count or a rating.
pub(super) static COUNTED: LazyLock<Regex> = LazyLock::new(|| pattern(r"[0-9]"));
/// An attribute of a tag.
pub(super) static ATTRIBUTE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r#"(?i)<\s*[\p{{L}}_-]{{1,30}}(?:\s[^<>\n]{{0,200}}?)?\s(?:(?:overall|final)[_-]?)?(?:score|rating|grade)\s*=\s*["']\s*{NUMBER}{OUT_OF}\s*["'][^<>\n]{{0,2000}}>"#
    ))
});
/// A complete line that is a score and nothing else.
pub(super) static LINE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(r#"(?i)^(?:[\s_`(\[<{{"'“”《「→👍]|=>)*{NUMBER}{OUT_OF}{UNIT}[\s_`)\].!>}}"'“”》」]*$"#))
});
/// A score at the beginning, followed by words. A number with a full stop may also number a list.
pub(super) static OPENING: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"(?i)^[_`(\[]*{NUMBER}{OUT_OF}{UNIT}[_`)\]]*(?:\s*[-–—:;(,]\s*[^0-9\s]|\s+(?:because|since|as|for)\b|(?<stop>\.)\s+\D)"
    ))
});
pub(super) static ENUMERATED: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\s*[0-9]{1,2}\s*[.):-]"));
pub(super) static PAIR: LazyLock<Regex> = LazyLock::new(|| {
    let other = NUMBER.replace("<n>", "<m>");
    pattern(&format!(r"^[\s(\[]*{NUMBER}(?:\s*,\s+|\s+){other}[\s)\].]*$"))
});
pub(super) static SENTENCE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"(?i)\b(?:rate|rated|rating|score|scored|give|gave|grade|assign|deserves|earns|award)\b[^.\n0-9]{{0,80}}{NUMBER}\s*(?:/|out\s+of)\s*(?<of>[0-9]{{1,4}})\b|\b(?:score|rating|grade)\s+of\s+{NUMBER2}{OUT_OF2}(?<rest>[^\n]*)",
        NUMBER2 = second(NUMBER),
        OUT_OF2 = second(OUT_OF),
    ))
});
/// Words by which a sentence gives the judge's own score of the answer.
pub(super) static OWN: LazyLock<Regex> = LazyLock::new(|| {
    let gives = r"(?:giv|gave|rat|scor|grad|award|assign)";
    let gets = r"(?:gets?|got|receives?|received|earns?|earned|deserves?|merits?|scores?|warrants?|has|is|was|(?:is|was|be|been)\s+(?:\w+ly\s+)?(?:rated|given|awarded|worth|scored|graded|assigned))";
    pattern(&format!(
        r"(?i)\b(?:I|we)(?:['’]\w+)?\s+(?:\S+\s+){{0,8}}?{gives}|\b(?:it|this|(?:the|this|that)\s+(?:\w+\s+){{0,3}}?(?:answer|response|output|reply|submission|text|summary|translation|essay|assistant(?:\s+[ab12])?|candidate|model))(?:['’]s\s+\w+)?\s+(?:\S+\s+){{0,6}}?{gets}\b|^\W*(?:so|therefore|thus|hence|overall|finally)?,?\s*(?:an?|my|the|final|overall)?\s*(?:\w+\s+)?(?:{gives}|score|rating)|\b(?:in\s+line|align\w*|consistent|commensurate|meets?|matches|fits?|satisf\w+|corresponds?)\b|\b(?:hence|thus|therefore|so|resulting\s+in|leads?\s+to|leading\s+to|justif\w+|warrant\w*|earn\w*|deserv\w+|merit\w*|results?\s+in)\s+(?:an?\s+|the\s+|my\s+)?(?:\w+\s+)?(?:score|rating|grade)"
    ))
});
/// Words for something other than the judged answer.
pub(super) static OF_OTHERS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b(?:another|other|previous|earlier|colleague|reference|expected|target|ideal|perfect|average|typical|highest|maximum|minimum|lowest|passing|possible|any|every|best|remember|remind\w*|should|must|argue\w*)\b",
    )
});
/// A sentence that ends with the score, or with a reason for it.
pub(super) static VERDICT: LazyLock<Regex> = LazyLock::new(|| {
    let ends = r#"(?:[.!)\]"'”]*\s*(?:$|\n)|[.!]\s|\s*[,;–—-]?\s*\b(?:because|since|as|due\s+to|overall|on\s+(?:a|the)\s+(?:[\w-]+\s+)?scale)\b)"#;
    let gives = r"\b(?:I|we)(?:'d|'ll|'m|’d|\s+would|\s+will|\s+shall|\s+must|\s+am|\s+are|\s+can)?(?:\s+(?:therefore|thus|hence|only|also|overall|have\s+to|going\s+to|happy\s+to))?\s+(?:giv(?:e|ing)|rat(?:e|ing)|scor(?:e|ing)|grad(?:e|ing)|award(?:ing)?|assign(?:ing)?)\b[^.\n0-9\x22“”]{0,60}?\s";
    let gets = r"\b(?:(?<it>it|this)|(?:the|this|that)\s+(?:\w+\s+)?(?:answer|response|output|reply|submission|text|summary|translation))\s+(?:gets|receives|earns|deserves|merits|scores|is\s+worth|rates)\s+(?:an?\s+|at\s+)?(?:\w+\s+)?";
    let scales = r"\bon\s+a\s+scale\s+(?:of|from)\s+[0-9]{1,3}\s*(?:to|-|–)\s*[0-9]{1,3}\b[^.\n0-9\x22“”]{0,60}?(?:\b(?:is|'s|be|it|as|at)\s+(?:an?\s+)?|:\s*)";
    let is = r"\b(?:the|my|its|this)\s+(?:final\s+|overall\s+)?(?:score|rating|grade|mark)(?:\s+(?:of|for)\s+(?:the|this)\s+(?:answer|response|output|reply|submission))?\s+is\s+(?:an?\s+)?";
    let quality = r"\bthe\s+(?:overall\s+)?(?:quality|relevance|accuracy|correctness|helpfulness|usefulness|fluency|coherence|clarity|faithfulness|groundedness|completeness|conciseness|consistency|creativity|safety|toxicity|readability|depth)\s+of\s+(?:the|this)\s+(?:\w+\s+)?(?:answer|response|output|reply|submission|text|summary|translation)\s+is\s+(?:an?\s+)?";
    // On one line.
    let begins = [gives, gets, scales, is, quality].join("|").replace(r"\s", r"[ \t]");
    pattern(&format!("(?i)(?:{begins}){NUMBER}{OUT_OF}{UNIT}(?<rest>{ends})"))
});
/// Labels that also have other meanings.
pub(super) static REMARK: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)^(?:not|punkte|punti|voto|nilai|scor$|pisteet|бали)"));
/// Text that must not follow a score: it would be part of a range, a list, a sum or a percentage.
pub(super) static CONTINUES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)^\s*(?:(?:[-–~〜～/,;&|+*=^%.:×·±<>≥≤…]|[-<>!]=|\+/-|x)\s*[\[(]?\s*[-+±]?[0-9]|(?:to|or|and|vs\.?|versus|against|bis|oder|und|à|a|ou|et|y|o|e|до|или|и|tot|til|till|eller|do|أو|إلى|تا|یا|या|से)\s+[0-9]|[,;(]?\s*(?:(?:or|maybe|perhaps|possibly|rather)\s+)+(?:an?\s+)?[0-9]|%|percent\b|[\[(]*[0-9]|\.{2,3}\s*[0-9]|\?|～|至|到|(?:=|→|->|=>)\s*[\p{L}0-9]|[(\[]?\s*or\s+(?:lower|less|fewer|higher|more|better|worse|below|above|so)\b|[^.\n]{0,80}?\botherwise\s+(?:an?\s+)?[0-9]|(?:for|with|without|on|in|if)\b[^.\n]{0,60}?(?:[,;]|\band|\bbut)\s*(?:and\s+|but\s+)?[0-9][0-9.,/]{0,6}\s+(?:for|with|without|on|in|if)\b|\([^)\n]{0,30}\)\s*(?:to|or|and|[-–,;/])\s*[0-9])|^[\w\p{No}]",
    )
});
/// A sentence that consists of a score and its maximum.
pub(super) static LAST_SENTENCE: LazyLock<Regex> = LazyLock::new(|| {
    let of = OUT_OF.strip_suffix('?').unwrap_or(OUT_OF);
    pattern(&format!(
        r"(?i)^(?:(?:so|overall|hence|therefore|thus)[,:]?\s+)?(?:(?:I|we)(?:['’]d|\s+would)?\s+(?:say|give\s+it|go\s+with|call\s+it|rate\s+it)\s*:?\s+|(?:it|this|that)(?:['’]s|\s+is)\s+)?(?:an?\s+)?(?:(?:solid|strong|clear|good|fair|decent|well-deserved|generous|weak)\s+)?[_`]*{NUMBER}{of}[\s_`.!)]*$"
    ))
});
/// An abbreviation, whose full stop does not end a sentence.
pub(super) static SHORT_WORD: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)\b(?:approx|ca|cca|circa|e\.g|i\.e|vs|cf|min|max|nr|no|est|avg|etc)\.\s*$")
});
/// A sentence with a maximum in words, and no label.
pub(super) static OUT_OF_WORDS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)^(?<n>[^:=\n]{0,80}[0-9])\s+out\s+of\s+(?:(?<a>three)|(?<b>four)|(?<c>five)|(?<d>six)|(?<e>seven)|(?<f>ten)|(?<g>twenty)|(?<h>(?:a\s+|one\s+)?hundred))\b",
    )
});
/// A digit in a circle or above the line, as the whole value of a label.
pub(super) static ORNATE_DIGIT: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?m)(?<before>[:=]\s*)(?<digit>[①-⑩⁰¹²³⁴-⁹])(?<end>\s*)$"));
/// A heading that is a score.
pub(super) static NUMBER_HEADING: LazyLock<Regex> = LazyLock::new(|| pattern(r"^#{1,6}\s+"));
/// Stars, filled and empty.
pub(super) static STARS: LazyLock<Regex> = LazyLock::new(|| pattern(r"[★⭐🌟]+[☆✩]*"));
/// A score with its maximum. A sentence with a verdict has one.
pub(super) static SHARE: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)[0-9]\s*(?:/|out\s+of)\s*[0-9]"));
/// Words of calculations, and words of judgements.
pub(super) static CALCULATES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)=|\b(?:correct|right|reference|actual|true|expected|candidate'?s?|assistant'?s?|student'?s?)\s+(?:final\s+)?(?:answer|solution|result|value|option|choice)\b|\b(?:equals?|solution|comput\w+|calculat\w+|sum|remainder|options?)\b",
    )
});
pub(super) static JUDGES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b(?:scor(?:e|es|ing)|rat(?:e|es|ing)|grad(?:e|es|ing)|verdict|judge?ment|evaluation|assessment|award|overall|final\s+answer)\b|점|分|оценк",
    )
});

/// Keys of scores in JSON.
pub(super) const KEYS: [&str; 28] = [
    "score",
    "rating",
    "grade",
    "overall_score",
    "final_score",
    "overall_rating",
    "final_rating",
    "overall",
    "overall_grade",
    "final_grade",
    "final_verdict",
    "verdict",
    "judgment",
    "judgement",
    "evaluation_score",
    "quality_score",
    "score_value",
    "점수",
    "평점",
    "총점",
    "评分",
    "得分",
    "分数",
    "スコア",
    "点数",
    "puntuación",
    "оценка",
    "bewertung",
];

/// Tags around scores.
pub(super) const TAGS: [&str; 20] = [
    "points",
    "mark",
    "score",
    "rating",
    "grade",
    "overall_score",
    "final_score",
    "overall_rating",
    "final_rating",
    "overall",
    "verdict",
    "final_verdict",
    "judgment",
    "judgement",
    "evaluation_score",
    "점수",
    "평점",
    "评分",
    "得分",
    "分数",
];

/// Tags around scores if they end the text; otherwise they may contain something else.
pub(super) const LAST_TAGS: [&str; 6] = ["answer", "final_answer", "result", "final", "output", "evaluation"];
