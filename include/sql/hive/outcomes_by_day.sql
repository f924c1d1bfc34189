-- Share of positive labels of each closed day, with how many labels there are
SELECT ds, COUNT(*) AS labelled, SUM(label) AS positives, AVG(label) AS share FROM {database}.labels GROUP BY ds
