use super::*;

/// Runs of looks, all alike, and what becomes of them; each row goes on where the one before ended.
#[test]
fn levels() {
    use Cause::{Backlog, Connections, Descriptors, Lag, Memory, NextHop};
    use Level::{Brownout, Normal, Shed};
    let calm = LOAD_CALM_SAMPLES as usize;
    type Row = (&'static [(Cause, u32)], usize, &'static [(Level, Option<Cause>)]);
    let rows: Vec<Row> = vec![
        (&[], 100, &[]),
        (
            &[(Descriptors, 799), (Memory, 749), (Lag, 499), (NextHop, 499), (Backlog, 249), (Connections, 799)],
            100,
            &[],
        ),
        (&[(Descriptors, 800)], 100, &[(Brownout, Some(Descriptors))]),
        // Between leaving and entering nothing changes.
        (&[(Descriptors, 799)], 100, &[]),
        (&[(Descriptors, 700)], 100, &[]),
        (&[(Descriptors, 699)], calm - 1, &[]),
        // Calm must last.
        (&[(Descriptors, 700)], 1, &[]),
        (&[(Descriptors, 699)], calm - 1, &[]),
        (&[(Descriptors, 699)], 1, &[(Normal, None)]),
        // At once to the highest, back one by one.
        (&[(Memory, 900), (Lag, 600)], 1, &[(Shed, Some(Memory))]),
        (&[(Memory, 800)], 100, &[]),
        (&[(Memory, 799)], calm, &[(Brownout, None)]),
        (&[(Memory, 799)], 100, &[]),
        (&[(Lag, 2_000)], 1, &[(Shed, Some(Lag))]),
        (&[], 2 * calm, &[(Brownout, None), (Normal, None)]),
        // One that calms while another rises.
        (&[(NextHop, 500)], 1, &[(Brownout, Some(NextHop))]),
        (&[(NextHop, 0), (Backlog, 125)], 100, &[]),
        (&[(Backlog, 750)], 1, &[(Shed, Some(Backlog))]),
        (&[(Connections, 800)], calm, &[(Brownout, None)]),
        (&[(Connections, 950)], 1, &[(Shed, Some(Connections))]),
    ];
    let mut machine = Machine::default();
    for (at, (values, looks, expected)) in rows.into_iter().enumerate() {
        let mut sample = Sample::default();
        for (cause, value) in values {
            sample[*cause as usize] = *value;
        }
        let changes: Vec<_> = (0..looks).filter_map(|_| machine.sample(&sample)).collect();
        let seen: Vec<_> = changes.iter().map(|change| (change.to, change.cause.map(|(cause, _)| cause))).collect();
        assert_eq!(seen, expected, "row {at}");
    }
}

#[test]
fn thresholds_are_in_order() {
    for (cause, Thresholds { brownout, shed }) in Cause::ALL.into_iter().zip(LOAD_THRESHOLDS) {
        assert!(brownout.leave < brownout.enter && shed.leave < shed.enter, "{cause:?}");
        assert!(brownout.enter < shed.enter && brownout.leave < shed.leave, "{cause:?}");
    }
    for (at, cause) in Cause::ALL.into_iter().enumerate() {
        assert_eq!(cause as usize, at);
    }
}

#[test]
fn who_is_refused() {
    let load = Load::default();
    for (level, stranger, neighbour) in
        [(Level::Normal, false, false), (Level::Brownout, false, true), (Level::Shed, true, true)]
    {
        load.enter(&Change { from: Level::Normal, to: level, cause: Some((Cause::Lag, 1)) });
        assert_eq!((load.refuses(|| false), load.refuses(|| true)), (stranger, neighbour), "{level}");
        assert_eq!(load.shed_counter(), Counter::ShedForLag);
    }
}
