#!/usr/bin/env python3
"""Write verdicts.jsonl and labels.jsonl: judged results and labels for the sample's answers.

    python make_results.py [OUT_DIR]

No model gave these verdicts and no person these labels: they are drawn, with a fixed seed, so that each page of the
console has something to show. In what is drawn, the second model is more accurate and longer, the smaller judge is
kinder, noisier and prefers the answer that it sees first, and people agree with the larger judge more often.
"""

import json
import os
import random
import sys
from datetime import datetime, timedelta

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from make_sample import NAMESPACE, final_records, metric_steps, output_steps, uuid  # noqa: E402

SHORT, LONG = "gpt-4.2-mini", "claude-lyric-1"
LARGE_JUDGE, SMALL_JUDGE = "sample-judge-large", "sample-judge-small"
ANNOTATORS = ["sample-ada", "sample-ben", "sample-cleo"]
# metric type: (quality of the short answer, quality of the long answer)
QUALITY = {"accuracy": (6.6, 7.8), "clarity": (7.4, 7.2), "conciseness": (8.4, 5.9)}
NIGHTS = 10


def metrics():
    """The first metric of each type."""
    first = {}
    for id_, record in final_records(metric_steps()).items():
        first.setdefault(record["metadata"]["metric_type"], id_)
    return {kind: first[kind] for kind in QUALITY}


def answered():
    """[(query id, {model: (output id, quality by metric type)})] in the order of the sample."""
    drawn, queries = random.Random("answers"), {}
    for id_, record in final_records(output_steps()).items():
        model = record["metadata"].get("model_id")
        if model is None:
            continue
        place = (SHORT, LONG).index(model)
        merit = {kind: means[place] + drawn.gauss(0, 1.1) for kind, means in QUALITY.items()}
        queries.setdefault(record["metadata"]["query_id"], {})[model] = (id_, merit)
    return list(queries.items())


def score(merit, judge, drawn):
    kindness, noise = (0.0, 0.7) if judge == LARGE_JUDGE else (0.9, 1.6)
    return max(1, min(10, round(merit + kindness + drawn.gauss(0, noise))))


def better(first, second, judge, drawn):
    """Of two answers, as the judge sees them: A, B or tie."""
    bias, noise = (0.1, 0.8) if judge == LARGE_JUDGE else (0.9, 1.5)
    difference = first - second + bias + drawn.gauss(0, noise)
    return "tie" if abs(difference) < 0.4 else "A" if difference > 0 else "B"


def at(night, number):
    begin = datetime(2025, 3, 3, 2) + timedelta(days=night)
    return (begin + timedelta(seconds=11 * number, microseconds=7919 * (number + 1) % 1_000_000)).isoformat()


def verdicts():
    drawn, written = random.Random("verdicts"), []

    def add(query_number, verdict):
        number = len(written)
        id_ = str(uuid.uuid5(NAMESPACE, "verdict:%d" % number))
        written.append({"id": id_, **verdict, "at": at(query_number * 7 % NIGHTS, number)})

    for query_number, (_, answers) in enumerate(answered()):
        for kind, metric in metrics().items():
            for judge in (LARGE_JUDGE, SMALL_JUDGE):
                if (kind, judge) == ("conciseness", SMALL_JUDGE):
                    continue
                for model, (output, merit) in answers.items():
                    verdict = {"output": output, "metric": metric, "judge": judge}
                    chance = drawn.random()
                    if judge == SMALL_JUDGE and chance < 0.05:
                        verdict |= {"status": "unparsed", "said": "Both have something to be said for them."}
                    elif chance > 0.985:
                        verdict |= {"status": "refused", "said": "I would rather not judge this answer."}
                    else:
                        value = score(merit[kind], judge, drawn)
                        verdict |= {"status": "scored", "score": value, "said": str(value)}
                    add(query_number, verdict)
        if len(answers) < 2:
            continue
        for judge in (LARGE_JUDGE, SMALL_JUDGE):
            (first, merit), (second, other) = answers[SHORT], answers[LONG]
            for swapped in (False, True):
                shown = (other, merit) if swapped else (merit, other)
                said = better(*(part["accuracy"] for part in shown), judge, drawn)
                own = {"A": "opponent" if swapped else "model", "B": "model" if swapped else "opponent", "tie": "tie"}
                add(query_number, {"output": first, "opponent": second, "swapped": swapped, "judge": judge,
                                   "metric": metrics()["accuracy"], "status": "scored", "winner": own[said],
                                   "said": json.dumps({"winner": said})})
    return written


def labels():
    """In the form of an export of labels."""
    drawn, written = random.Random("labels"), []

    def add(annotator, query, metric, verdict):
        number = len(written)
        id_ = str(uuid.uuid5(NAMESPACE, "label:%d" % number))
        written.append({"id": id_, "annotator": annotator, "query_id": query, "evaluation_prompt_id": metric, **verdict,
                        "labelled_at": at(NIGHTS + number // 40, number)})

    for query_number, (query, answers) in enumerate(answered()[:20]):
        for place, annotator in enumerate(ANNOTATORS):
            if (query_number + place) % 3 == 0:
                continue
            for model, (_, merit) in answers.items():
                value = max(1, min(10, round(merit["accuracy"] + drawn.gauss(0, 0.8))))
                add(annotator, query, metrics()["accuracy"], {"model_id": model, "score": value})
            if len(answers) == 2 and query_number < 12:
                models = [SHORT, LONG] if drawn.random() < 0.5 else [LONG, SHORT]
                merits = [answers[model][1]["accuracy"] for model in models]
                winner = better(*merits, LARGE_JUDGE, drawn).lower()
                add(annotator, query, metrics()["accuracy"],
                    {"model_a": models[0], "model_b": models[1], "winner": winner})
    return written


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else HERE
    for name, lines in [("verdicts", verdicts()), ("labels", labels())]:
        with open(os.path.join(folder, name + ".jsonl"), "w", encoding="utf-8", newline="\n") as file:
            for line in lines:
                file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
