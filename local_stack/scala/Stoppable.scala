package lambda_dl

import org.apache.spark.{InterruptibleIterator, TaskContext}
import org.apache.spark.rdd.RDD
import org.apache.spark.sql.SparkSessionExtensions
import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.sql.catalyst.expressions.{Attribute, SortOrder}
import org.apache.spark.sql.catalyst.expressions.codegen.{CodegenContext, ExprCode}
import org.apache.spark.sql.catalyst.optimizer.BuildRight
import org.apache.spark.sql.catalyst.plans.physical.Partitioning
import org.apache.spark.sql.catalyst.rules.Rule
import org.apache.spark.sql.execution.{CodegenSupport, ColumnarRule, SparkPlan, UnaryExecNode}
import org.apache.spark.sql.execution.joins.{BaseJoinExec, BroadcastNestedLoopJoinExec}

/** A query that was cancelled stops, even in the middle of a join that multiplies its rows.
  *
  * Spark asks whether a task was killed when it reads its input, some thousand rows at a time. A careless cross join
  * works on those for hours, and a cancelled one would keep its cores until then. Here it is asked for each row that a
  * join gives, and for each that it is about to compare with all of the other side.
  */
class Stoppable extends (SparkSessionExtensions => Unit) {
  override def apply(extensions: SparkSessionExtensions): Unit =
    extensions.injectColumnar(_ => new ColumnarRule {
      // The last rule before operators are compiled together; adaptive execution asks it for each of its stages.
      override def postColumnarTransitions: Rule[SparkPlan] = plan => plan.transformUp {
        case join: BroadcastNestedLoopJoinExec if join.buildSide == BuildRight =>
          StoppableExec(join.copy(left = StoppableExec(join.left)))
        case join: BroadcastNestedLoopJoinExec => StoppableExec(join.copy(right = StoppableExec(join.right)))
        case join: BaseJoinExec => StoppableExec(join)
      }
    })
}

/** Passes rows on while the task is wanted. */
case class StoppableExec(child: SparkPlan) extends UnaryExecNode with CodegenSupport {
  override def output: Seq[Attribute] = child.output
  override def outputPartitioning: Partitioning = child.outputPartitioning
  override def outputOrdering: Seq[SortOrder] = child.outputOrdering
  override def inputRDDs(): Seq[RDD[InternalRow]] = child.asInstanceOf[CodegenSupport].inputRDDs()

  override protected def doExecute(): RDD[InternalRow] =
    child.execute().mapPartitions(rows => new InterruptibleIterator(TaskContext.get(), rows))

  override protected def doProduce(context: CodegenContext): String =
    child.asInstanceOf[CodegenSupport].produce(context, this)

  override def doConsume(context: CodegenContext, input: Seq[ExprCode], row: ExprCode): String = {
    val name = classOf[TaskContext].getName
    val task = context.addMutableState(name, "task", variable => s"$variable = $name.get();", forceInline = true)
    s"""
       |if ($task.isInterrupted()) { $task.killTaskIfInterrupted(); }
       |${consume(context, input, row.value)}
     """.stripMargin
  }

  override protected def withNewChildInternal(newChild: SparkPlan): StoppableExec = copy(child = newChild)
}
